package config

import (
	"fmt"
	"time"
)

// Competing says when another program is taken to fight over what the bridge writes, and for how long the bridge then
// stays away.
type Competing struct {
	Flips  int           `yaml:"flips" default:"3" min:"0" max:"100" doc:"How many times within window a state that the bridge wrote may be ended and have to be written again; with the last of them the bridge stops writing to that side of that person, for pause. 0: never. People end and repeat what they do as well, so what may be their doing counts a quarter: 1 takes the fifth of five short calls for a fight."`
	Window time.Duration `yaml:"window" default:"2m" min:"10s" max:"1h" doc:"The time within which flips are counted, from the first."`
	Pause  time.Duration `yaml:"pause" default:"10m" min:"10s" max:"24h" doc:"How long the bridge stays away. Then it tries again; a resync of the person has it try at once."`
}

// competing points out what can be written but does not do what it seems to.
func (v *validator) competing(a *Account, path string) {
	c := &a.Competing
	switch least := time.Duration(c.Flips-1) * a.HoldDown; {
	case c.Flips <= 0:
		if v.lines[path+".window"] > 0 || v.lines[path+".pause"] > 0 {
			v.warn(path+".flips", "is 0, so competing writers are never noticed and window and pause mean nothing", "give 1 or more, or remove the other keys")
		}
	case c.Flips == 1:
		v.warn(path+".flips", "is 1: the fifth of five short calls is taken for a fight", "use 2 or more, unless people never repeat what they do")
	case least > c.Window:
		v.warn(path+".window", fmt.Sprintf("%d flips take at least %s with a hold_down of %s, so competing writers are never noticed", c.Flips, least, a.HoldDown),
			fmt.Sprintf("make it longer than %s, or flips or hold_down smaller", least))
	}
}
