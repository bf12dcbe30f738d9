require_relative "app"

run Dice
