# Run with: bundle exec ruby -Itest test/app_test.rb
require "minitest/autorun"
require_relative "../app"

class DiceTest < Minitest::Test
  def test_every_die_shows_one_to_six
    thrown = Dice.throw_dice(20)
    assert_equal 20, thrown.size
    assert(thrown.all? { |die| die.between?(1, 6) })
  end
end
