package lock_test

// The rules of the package and the test that fails when one is broken. What is in brackets was broken once, and the test
// was seen to fail; what is in braces cannot be seen failing, and why.
//
//	 1  lost by a local timer at Until,     TestLease_Context/hung backend  [no timer; until without the margin]
//	    re-armed by a successful extend     TestLease_Context/only an answered renewal  [re-armed on any answer]
//	    a late answer revives nothing       TestLease_Context/hung backend  [no look at the time before re-arming]
//	 2  renewed at TTL/3                    TestLease_Context/renewed at each third  [TTL/2]
//	    never past MaxHold                  TestLease_Context/cut at MaxHold  [the extend's TTL not cut]
//	 3  "not mine" is lost now              TestLease_Context/not mine  [treated as no answer]
//	    no answer is tried again            TestLease_Context/an unanswered renewal  [treated as lost]
//	 4  release waits for the extend        TestLease_Release/waits for the renewal  [no wait for the watchdog]
//	    compares before it deletes          locktest OnlyOwnerReleases  [DEL without a look, in Redis and Memory]
//	    works with a dead context           locktest ReleaseAfterCancel  [the caller's context]
//	    in bounded time                     TestLease_Release/works with a cancelled context  [no timeout]
//	    a failure is told, may be repeated  TestLease_Release/may be repeated  [the first answer kept]
//	 5  woken by the release                locktest Handover  [no PUBLISH]
//	    subscribe, try, wait                TestRedis_Restarted  [ready wakes nobody]
//	    the key's remaining TTL             TestAcquire_Waits/until the key in the way expires  [poll only]
//	    a jittered poll                     TestAcquire_Waits/until the poll  [no poll]
//	    first come, first served            TestAcquire_Waits/in the order of arrival  [no gate]
//	    processes take turns                TestRedis_Turns  [nobody next; next after itself; Try obeys]
//	    no wall                             locktest Starvation, CutOff  [three tries]
//	 6  cleans up with a live context       TestAcquire_Fails/when its caller gives up  [the caller's context; no drop]
//	    an acquisition whose reply was      TestRedis_ReplyLost  [owner not recognised; a second token drawn]
//	    lost heals itself
//	 7  tokens strictly increase            locktest Exclusion, Tokens  [no INCR]
//	    counters have no TTL, Raise only    TestRedis_Raise  [a TTL; a plain SET]
//	    lifts
//	 8  all keys or none                    locktest AllOrNone, LostOneOfTwo  [taken one by one; MySQL: waits while it holds]
//	    one slot                            TestCluster/Slots  [no hash tag]
//	    gates in key order                  locktest OppositeOrders              [keys not sorted]
//	    Redlock: quorum                     TestRedlock_MajorityAway, _Votes  [one vote less]
//	    a minority is given back            TestRedlock_Votes/a minority  [no clean-up]
//	    hung nodes hold nobody up           TestRedlock_MinorityAway/hung  [no way out of a round]
//	    no delete overtakes its set         TestRedlock_DeleteFollowsItsSet  [the delete does not follow]
//	 9  client fit for locks                TestNewRedis_Refuses, TestRedis_Hung  [checks left out]
//	    no hidden retries                   TestCluster/RepeatsNothing  [go-redis's own command]
//	10  neither SetNXOnExtend               TestRedlock_Votes/one lost vote, locktest LostKey  [the option on]
//	    nor failFast                        TestRedlock_LateVoteIsGivenBack  {its late answers are waited for in round anyway}
//	11  exclusive, not reentrant            locktest NotReentrant  [owner by process]
//	    the observer hears of all           TestObserver  [a call left out]
//	    and of nothing after Release        TestObserver_ReleaseWaitsForIt  [no wait]
