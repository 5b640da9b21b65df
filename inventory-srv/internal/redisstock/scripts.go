package redisstock

import (
	"embed"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var sources embed.FS

// scripts are those of the folder scripts, each with common.lua before it.
type scripts struct {
	reserve, end, remember, allocate, close, compensate, begin, fill, open, read, followed, watch, shut *redis.Script
}

func newScripts() scripts {
	source := func(name string) string {
		text, err := sources.ReadFile("scripts/" + name + ".lua")
		if err != nil {
			panic(err) // the file is part of the program
		}
		return string(text)
	}
	common := source("common")
	with := func(name string) *redis.Script { return redis.NewScript(common + source(name)) }
	return scripts{
		reserve: with("reserve"), end: with("end"), remember: with("remember"), allocate: with("allocate"), close: with("close"),
		compensate: with("compensate"), begin: with("begin"), fill: with("fill"), open: with("open"), read: with("read"),
		followed: with("followed"), watch: with("watch"), shut: with("shut"),
	}
}
