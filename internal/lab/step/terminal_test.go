package step_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/step"
)

// TestTerminal checks the output of a lesson that is stepped through, in two columns and in Chinese.
func TestTerminal(t *testing.T) {
	t.Parallel()
	texts := step.Catalogue{
		"x.title": "标题", "x.read": "读", "x.read.got": "读到 %d", "x.ask": "会读到什么？", "x.row": "行", "x.sold": "卖出",
		"step.keys": "（回车）", "step.waits": "%s ... 等待", "step.nothing": "无",
	}
	table := step.NewTable([]any{"", step.T("x.sold"), "B"}, []any{"naive", 60, 1000000}, []any{step.T("x.title"), 2, 1})
	var out strings.Builder
	terminal := step.Terminal{Out: &out, Texts: texts, Stepping: true}
	ask := step.T("x.ask")
	for _, e := range []step.Event{
		{Kind: step.Opened, Scene: 1, Text: step.T("x.title")},
		{Kind: step.Asked, Scene: 1, Step: 1, Actor: "B", Column: 2, Text: step.T("x.read"), Statement: "SELECT 1", Ask: &ask},
		{Kind: step.Waiting, Scene: 1, Step: 1, Actor: "B", Column: 2, Text: step.T("x.read")},
		{Kind: step.Done, Scene: 1, Step: 1, Actor: "A", Text: step.T("x.read.got", 7)},
		{Kind: step.Looked, Scene: 1, Step: 1, Views: []step.View{{Name: step.T("x.row"), Rows: []string{"a=1"}}, {Name: step.T("x.row")}}},
		{Kind: step.Done, Scene: 1, Step: 2, Text: step.T("x.read"), Table: table},
		{Kind: step.Tabled, Scene: 1, Table: step.NewTable([]any{"", step.T("x.sold"), "B"}, []any{"naive", 60, 1000000}, []any{step.T("x.title"), 2, 1})},
		{Kind: step.Claimed, Scene: 1, Text: step.T("x.read"), Holds: false},
	} {
		terminal.Show(e)
	}
	want := `
1. 标题

   [1.1] B: 读
         SELECT 1
         ? 会读到什么？
         （回车）
                                         读 ... 等待
   A: 读到 7
      | 行: a=1
      | 行: 无
   读
           卖出   B
   naive   60     1000000
   标题    2      1
   ✗ FALSE: 读
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// TestTerminal_plain: a crowd and its table are not printed if the reader does not step.
func TestTerminal_plain(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	terminal := step.Terminal{Out: &out, Texts: step.Catalogue{"x.crowd": "a crowd"}}
	terminal.Show(step.Event{Kind: step.Done, Text: step.T("x.crowd"), Table: step.NewTable([]any{"sold"}, []any{1})})
	if out.Len() > 0 {
		t.Errorf("printed %q", out.String())
	}
}
