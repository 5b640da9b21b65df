package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"holdfast/internal/lab/phrase"
	"holdfast/order-srv/check"
	"holdfast/pkg/crash"
)

func book(t *testing.T, lang string) *phrase.Book {
	t.Helper()
	b, err := phrase.New(lang)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAudit_chinese: the audit prints its findings in Chinese, and its JSON document in English.
func TestAudit_chinese(t *testing.T) {
	t.Parallel()
	report := &check.Report{
		SKUs:       []check.SKU{{SKU: "MUG-CLASSIC", Inbound: 500, Available: 499, Reserved: 1, LinesReserved: 1}},
		Orders:     map[string]int{"PAID": 2, "PLACED": 1},
		Violations: []check.Violation{{Invariant: 3, Subject: "MUG-CLASSIC", Text: "oversold: 12 units promised, only 10 ever came in"}},
		Unsettled:  []check.Violation{{Invariant: 7, Subject: "half messages", Text: "3 are undecided, the oldest for 1m0s"}},
		Lost:       []check.Violation{{Invariant: 5, Subject: "01L", Text: "is PAID, but Redis has lost its reservation of map[A:1]"}},
		Losses:     []check.Loss{{Reason: "no epoch", Operations: 12, Units: 14}},
		Branches:   []check.Branch{{OrderNo: "01X", Side: "inventory", Age: 31 * time.Second, Locks: []string{"stock A", "stock B"}}},
		Healed:     []check.Healing{{OrderNo: "01H", Healer: "check-back", Action: "abandoned", At: time.Now()}},
		Messages:   check.Messages{Undecided: 3, OldestUndecided: time.Minute},
	}
	url, _ := gateway(t, report)
	var out bytes.Buffer
	err := run(t.Context(), []string{"--url", url, "--dir", t.TempDir(), "audit", "--lang", "zh"}, &out)
	if code(err) != 1 || err.Error() != "检查结果 2 条" {
		t.Errorf("exit code %d, %v", code(err), err)
	}
	says(t, out.String(), []string{
		"          SKU  入库  可售  已预占  已售\n  MUG-CLASSIC   500   499       1     0\n", "\n订单：PAID 2，PLACED 1\n",
		"消息：未定的半消息 3 条（最久 1m0s），outbox 中未发送 0 条\n",
		"xa：01X 在 inventory 的分支已 PREPARE 31s，日志为 空；锁住 stock A，stock B\n",
		"违规 不变量 3：MUG-CLASSIC：超卖：承诺了 12 件，而入库只有 10 件\n", "未结清 不变量 7：半消息：3 条未定，最久的已有 1m0s\n",
		"Redis 丢失 12 个操作（14 件）", "丢失的订单 不变量 5：01L：状态是 PAID，它的预占 map[A:1] 已被 Redis 丢失；支付后变为 REFUND_DUE\n", "：回查放弃了 01H\n",
	}, "%!")
	out.Reset()
	if err := run(t.Context(), []string{"--url", url, "audit", "--lang", "zh", "--json"}, &out); err == nil || err.Error() != "2 findings" {
		t.Errorf("with --json: %v", err)
	}
	var document auditResult
	if err := json.Unmarshal(out.Bytes(), &document); err != nil || document.Violations[0].Text != report.Violations[0].Text {
		t.Errorf("%v, %s", err, &out)
	}
	url, _ = gateway(t, &check.Report{})
	out.Reset()
	if err := run(t.Context(), []string{"--url", url, "--dir", t.TempDir(), "audit", "--lang", "zh"}, &out); err != nil {
		t.Error(err)
	}
	says(t, out.String(), []string{"订单：无\n", "无异常：每一件都有去向，没有进行中的订单\n"}, "%!")
}

// TestAudit_chineseError: the error says in Chinese which part does not run, and that a crash point ended it.
func TestAudit_chineseError(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]string{
		stackDir(t, crash.OrderReserved, crash.OrderReserved): "order-srv 在崩溃点 order-srv@reserved 崩溃：库存已预占，订单还不是 PLACED。\n进行中的订单由兜底机制裁决，最后必须是 ABANDONED；",
		stackDir(t, ""): "order-srv 没有运行：bin/holdfast up 会重新启动它",
	} {
		err := run(t.Context(), []string{"--url", "http://127.0.0.1:1", "--dir", dir, "audit", "--lang", "zh"}, &bytes.Buffer{})
		if code(err) != 2 {
			t.Errorf("exit code %d", code(err))
		}
		says(t, err.Error(), []string{"审计失败：登录：", want}, "%!")
	}
}

// TestStatus_chinese: the status of a shop elsewhere, and the error without one.
func TestStatus_chinese(t *testing.T) {
	t.Parallel()
	url, _ := gateway(t, &check.Report{
		InDoubt:  []check.InDoubt{{State: "confirming", Orders: 2, Oldest: 3 * time.Second}},
		Messages: check.Messages{Undecided: 1, OldestUndecided: time.Minute, LateAfter: 22 * time.Second},
	})
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--url", url, "--dir", t.TempDir(), "status", "--lang", "zh"}, &out); err != nil {
		t.Fatal(err)
	}
	says(t, out.String(), []string{"订单：无\n", "tcc：confirming 2 个（最久 3s）\n", "告警：半消息未定的时间超过 22s\n", "回查速率和重复投递的释放：未知"}, "%!")
	err := run(t.Context(), []string{"--url", "http://127.0.0.1:1", "--dir", "x", "status", "--lang", "zh"}, &out)
	says(t, err.Error(), []string{"没有组件在运行（状态目录 ", "http://127.0.0.1:1 上也没有网关应答"}, "%!")
	out.Reset()
	statusResult{Parts: []partResult{{Name: "order-srv", State: "runs", PID: 7, MemoryMB: 20, What: "127.0.0.1:9000"}}}.print(&out, book(t, "zh"))
	says(t, out.String(), []string{"组件       状态    PID  内存   版本与地址\norder-srv  运行中  7    20 MB  127.0.0.1:9000\n"})
}

// TestDoctor_chinese: the doctor judges this machine in Chinese; the names of its checks stay.
func TestDoctor_chinese(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := run(t.Context(), []string{"--dir", t.TempDir(), "doctor", "--way", "native", "--lang", "zh"}, &out)
	if c := code(err); c > 1 {
		t.Fatal(err)
	}
	says(t, out.String(), []string{" system     ", "个 CPU", "make up（普通进程）"}, "%!", "nothing stops", "would stop")
}
