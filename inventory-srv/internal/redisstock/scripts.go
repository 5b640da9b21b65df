package redisstock

import (
	_ "embed" // for the scripts

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/common.lua
var common string

//go:embed scripts/reserve.lua
var reserveSource string

//go:embed scripts/end.lua
var endSource string

//go:embed scripts/remember.lua
var rememberSource string

//go:embed scripts/lay.lua
var laySource string

//go:embed scripts/close.lua
var closeSource string

//go:embed scripts/compensate.lua
var compensateSource string

//go:embed scripts/begin.lua
var beginSource string

//go:embed scripts/fill.lua
var fillSource string

//go:embed scripts/open.lua
var openSource string

//go:embed scripts/read.lua
var readSource string

//go:embed scripts/followed.lua
var followedSource string

//go:embed scripts/watch.lua
var watchSource string

//go:embed scripts/shut.lua
var shutSource string

// scripts are what Redis is asked to do, each with the common part before it.
type scripts struct {
	reserve, end, remember, lay, close, compensate, begin, fill, open, read, followed, watch, shut *redis.Script
}

func newScripts() scripts {
	with := func(source string) *redis.Script { return redis.NewScript(common + source) }
	return scripts{
		reserve: with(reserveSource), end: with(endSource), remember: with(rememberSource), lay: with(laySource), close: with(closeSource),
		compensate: with(compensateSource), begin: with(beginSource), fill: with(fillSource), open: with(openSource), read: with(readSource),
		followed: with(followedSource), watch: with(watchSource), shut: with(shutSource),
	}
}
