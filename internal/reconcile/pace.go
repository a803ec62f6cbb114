package reconcile

import "time"

// Backoff is how long to wait before what has failed again is tried again: twice as long
// as the last time, which is zero after the first failure, and between least and most.
func Backoff(last, least, most time.Duration) time.Duration {
	return min(max(2*last, least), most)
}
