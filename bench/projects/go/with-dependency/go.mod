module example.com/go-app

go 1.27

require example.com/extra v0.0.0

replace example.com/extra => ./extra
