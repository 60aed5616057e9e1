// Package failpoint lets a test break a program at a place that matters, such as
// between a commit and what follows it. In a program built with the tag failpoints,
// ONEFLOW_FAILPOINTS says where and how; in any other, Hit is empty and nothing
// reads the variable.
//
// The variable is a list of place=action, separated by commas:
//
//	claimed=exit@3            end the program at the third hit, as kill -9 would
//	begun[bad-model]=panic    panic at each hit that concerns bad-model
//	answered=sleep:5s         wait 5 s at each hit
//	begun[huge]=oom           use up memory until the runtime gives up
//
// It imports nothing of ours.
package failpoint
