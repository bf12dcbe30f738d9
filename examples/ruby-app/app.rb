require "json"
require "sinatra/base"

# Throws dice: a page for people and JSON for programs.
class Dice < Sinatra::Base
  GREETING = "hello from ruby".freeze
  MOST = 20

  set :views, File.join(__dir__, "views")

  get "/" do
    erb :index, locals: {greeting: GREETING}
  end

  get "/throw/:count" do
    count = Integer(params[:count], exception: false)
    halt 400, "the number of dice is from 1 to #{MOST}\n" unless count&.between?(1, MOST)
    content_type :json
    self.class.throw_dice(count).to_json
  end

  def self.throw_dice(count)
    Array.new(count) { rand(1..6) }
  end
end
