package lesson

import (
	"holdfast/internal/lab/step"
	"holdfast/order-srv/walletapi"
)

// tccEmptyCancel cancels an order whose freeze is still on the network.
func tccEmptyCancel() Lesson {
	return tccLesson{
		name: "tcc-empty-cancel", mistake: "blind-cancel",
		stage: func(w *walletScene) *step.Stage {
			return &step.Stage{
				Actors: []*step.Actor{{Name: "order-srv", Steps: []step.Step{
					w.freezes(tccB), w.freezesLate(tccA), w.cancels(tccA, "tcc-empty-cancel.ask"), w.confirms(tccB, "tcc-empty-cancel.ask.pay"),
				}}},
				Order: []string{"order-srv", "order-srv", "order-srv", "order-srv"},
			}
		},
		check: func(w *walletScene, b balance, end *step.Ending) {
			cancelled := w.answers["cancels "+tccA] == answered
			paid := w.answers["confirms "+tccB] == answered
			if !w.right {
				end.Check(cancelled && !paid && b.available == tccOpening && b.frozen == 0 && b.forOrders == tccPrice, "tcc-empty-cancel.mistake.claim", tccPrice)
				return
			}
			end.Check(cancelled && paid && b == balance{available: tccOpening - tccPrice, payments: 1}, "tcc-empty-cancel.right.claim", b.available)
		},
	}.lesson()
}

// tccHanging has the freeze arrive after its cancellation.
func tccHanging() Lesson {
	return tccLesson{
		name: "tcc-hanging", mistake: "no-tombstone",
		stage: func(w *walletScene) *step.Stage {
			return &step.Stage{
				Actors: []*step.Actor{
					{Name: "order-srv", Steps: []step.Step{w.freezesLate(tccA), w.cancels(tccA, "tcc-hanging.ask.cancel")}},
					{Name: "", Steps: []step.Step{w.arrives(tccA, "tcc-hanging.ask")}},
				},
				Order: []string{"order-srv", "order-srv", ""},
			}
		},
		check: func(w *walletScene, b balance, end *step.Ending) {
			cancelled, late := w.answers["cancels "+tccA] == answered, w.answers["arrives "+tccA]
			if !w.right {
				end.Check(cancelled && late == answered && b.frozen == tccPrice, "tcc-hanging.mistake.claim", b.frozen)
				return
			}
			end.Check(cancelled && late == refusal(walletapi.ErrFreezeClosed) && b == balance{available: tccOpening}, "tcc-hanging.right.claim", b.available)
		},
	}.lesson()
}

// tccRepeat sends a confirmation twice, as the first answer is lost, and a cancellation after it.
func tccRepeat() Lesson {
	return tccLesson{
		name: "tcc-repeat", mistake: "blind-repeat",
		stage: func(w *walletScene) *step.Stage {
			return &step.Stage{
				Actors: []*step.Actor{{Name: "order-srv", Steps: []step.Step{
					w.freezes(tccA), w.freezes(tccB), w.confirmsUnheard(tccA), w.confirms(tccA, "tcc-repeat.ask"),
					w.cancels(tccA, "tcc-repeat.ask.cancel"), w.confirms(tccB, "tcc-repeat.ask.pay"),
				}}},
				Order: []string{"order-srv", "order-srv", "order-srv", "order-srv", "order-srv", "order-srv"},
			}
		},
		check: func(w *walletScene, b balance, end *step.Ending) {
			repeated := w.answers["confirms "+tccA] == answered
			refused := w.answers["cancels "+tccA] == refusal(walletapi.ErrFreezeConfirmed)
			paid := w.answers["confirms "+tccB] == answered
			if !w.right {
				end.Check(repeated && !paid && b.payments == 2 && b.frozen == 0 && b.forOrders == tccPrice, "tcc-repeat.mistake.claim", tccPrice)
				return
			}
			end.Check(repeated && refused && paid && b == balance{available: tccOpening - 2*tccPrice, payments: 2}, "tcc-repeat.right.claim", b.available)
		},
	}.lesson()
}
