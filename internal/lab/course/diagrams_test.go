package course_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/course"
)

// sequence is a mermaid sequence diagram as far as the pages use it.
type sequence struct {
	participants []string // their ids, in order
	steps        []string // messages and notes without their texts, as "A ->> DB" and "note A,DB"
	messages     int
	notes        int
}

var (
	mermaid     = regexp.MustCompile("(?ms)^```mermaid\n(.*?)^```$")
	participant = regexp.MustCompile(`^    participant ([A-Z][A-Za-z0-9]*) as (.+)$`)
	message     = regexp.MustCompile(`^    ([A-Z][A-Za-z0-9]*)(->>|-->>|-x|--x)([A-Z][A-Za-z0-9]*): (.+)$`)
	note        = regexp.MustCompile(`^    Note over ([A-Z][A-Za-z0-9]*(?:,[A-Z][A-Za-z0-9]*)?): (.+)$`)
	scene       = regexp.MustCompile(`(?:The order of execution in scene (\d+):|第 (\d+) 部分的执行顺序：)` + "\n\n```mermaid\n")
	wordEnd     = regexp.MustCompile(`(?i)\bend\b`)
)

// reserved are the words of mermaid that cannot name a participant, in any case.
func reserved() []string {
	return []string{
		"activate", "actor", "alt", "and", "as", "autonumber", "box", "break", "create", "critical", "deactivate", "destroy", "else", "end",
		"left", "link", "links", "loop", "note", "opt", "option", "over", "par", "participant", "rect", "right", "title",
	}
}

// maxLineRunes bounds a line of a text: the renderer does not wrap, and a long line pushes the participants apart.
const maxLineRunes = 60

// checkText returns an error for a text that GitHub's renderer would cut, drop or take for syntax: a semicolon ends the
// statement, # begins an entity, < begins a tag, %% a comment and $$ a formula. The word end can close a block.
func checkText(text string) error {
	for line := range strings.SplitSeq(text, "<br/>") {
		if strings.ContainsAny(line, ";#<>&{}\\`") || strings.Contains(line, "%%") || strings.Contains(line, "$$") || wordEnd.MatchString(line) {
			return fmt.Errorf("%q has a character or word that the renderer does not take as text", line)
		}
		if line != strings.TrimSpace(line) || line == "" || utf8.RuneCountInString(line) > maxLineRunes {
			return fmt.Errorf("%q is empty, has space around it or more than %d characters", line, maxLineRunes)
		}
	}
	return nil
}

// parseSequence parses a strict part of mermaid's syntax. Participants come first, each is declared once and used.
func parseSequence(text string) (sequence, error) {
	var s sequence
	used := map[string]bool{}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if lines[0] != "sequenceDiagram" {
		return s, fmt.Errorf("the diagram begins with %q", lines[0])
	}
	for _, line := range lines[1:] {
		text, err := s.add(line, used)
		if err != nil {
			return s, err
		}
		if err := checkText(text); err != nil {
			return s, err
		}
	}
	for _, id := range s.participants {
		if !used[id] {
			return s, fmt.Errorf("participant %s is not used", id)
		}
	}
	return s, nil
}

// add parses one line and returns its text.
func (s *sequence) add(line string, used map[string]bool) (string, error) {
	if m := participant.FindStringSubmatch(line); m != nil {
		if slices.Contains(s.participants, m[1]) || len(s.steps) > 0 || slices.Contains(reserved(), strings.ToLower(m[1])) {
			return "", fmt.Errorf("participant %s is declared twice, after the first message, or is a word of mermaid", m[1])
		}
		s.participants = append(s.participants, m[1])
		return m[2], nil
	}
	var ids []string
	var text string
	if m := message.FindStringSubmatch(line); m != nil {
		ids, text = []string{m[1], m[3]}, m[4]
		s.steps, s.messages = append(s.steps, strings.Join(m[1:4], " ")), s.messages+1
	} else if m := note.FindStringSubmatch(line); m != nil {
		ids, text = strings.Split(m[1], ","), m[2]
		s.steps, s.notes = append(s.steps, "note "+m[1]), s.notes+1
	} else {
		return "", fmt.Errorf("%q is no participant, message or note", line)
	}
	for _, id := range ids {
		if !slices.Contains(s.participants, id) {
			return "", fmt.Errorf("%q: participant %s is not declared", line, id)
		}
		used[id] = true
	}
	return text, nil
}

// TestLessonPages_Diagram: each page has one sequence diagram, of a scene that the lesson has, with a note where it
// goes wrong. Both languages have the same participants, and the same messages and notes between them.
func TestLessonPages_Diagram(t *testing.T) {
	t.Parallel()
	for _, p := range course.Places() {
		found, scenes := map[string]sequence{}, map[string]string{}
		for lang, f := range forms() {
			name := p.Lesson.Name + f.suffix
			text := page(t, filepath.Join("lessons", name))
			blocks, intro := mermaid.FindAllStringSubmatch(text, -1), scene.FindStringSubmatch(text)
			if len(blocks) != 1 || intro == nil {
				t.Errorf("%s: %d diagrams, not one that follows the line with its scene", name, len(blocks))
				continue
			}
			s, err := parseSequence(blocks[0][1])
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if s.messages < 4 || s.messages > 16 || s.notes == 0 || len(s.participants) < 2 || len(s.participants) > 6 {
				t.Errorf("%s: the diagram has %d messages, %d notes and %d participants", name, s.messages, s.notes, len(s.participants))
			}
			scenes[lang] = intro[1] + intro[2]
			if n, err := strconv.Atoi(scenes[lang]); err != nil || n == 0 || !strings.Contains(text, fmt.Sprintf("\n%d. ", n)) {
				t.Errorf("%s: the lesson prints no scene %s", name, scenes[lang])
			}
			found[lang] = s
		}
		if diff := cmp.Diff(found["en"], found["zh"], cmp.AllowUnexported(sequence{})); diff != "" || scenes["en"] != scenes["zh"] {
			t.Errorf("lesson %s: the diagrams of en (-, scene %s) and zh (+, scene %s) differ:\n%s", p.Lesson.Name, scenes["en"], scenes["zh"], diff)
		}
	}
}

// TestParseSequence: what GitHub cannot draw is an error.
func TestParseSequence(t *testing.T) {
	t.Parallel()
	const head = "sequenceDiagram\n    participant A as Buyer A\n    participant DB as MySQL\n"
	s, err := parseSequence(head + "    A->>DB: COMMIT\n    DB--xA: lost: no answer\n    Note over A,DB: two<br/>lines\n")
	want := sequence{participants: []string{"A", "DB"}, steps: []string{"A ->> DB", "DB --x A", "note A,DB"}, messages: 2, notes: 1}
	if diff := cmp.Diff(want, s, cmp.AllowUnexported(sequence{})); diff != "" || err != nil {
		t.Errorf("%v, want (-), got (+):\n%s", err, diff)
	}
	for name, text := range map[string]string{
		"another diagram":    "flowchart LR\n",
		"unused":             head + "    A->>A: COMMIT\n",
		"undeclared":         head + "    A->>C: COMMIT\n    A->>DB: COMMIT\n",
		"unknown arrow":      head + "    A=>>DB: COMMIT\n    A->>DB: COMMIT\n",
		"semicolon":          head + "    A->>DB: BEGIN; COMMIT\n",
		"entity":             head + "    A->>DB: unit #1\n",
		"tag":                head + "    A->>DB: fence < token\n",
		"formula":            head + "    A->>DB: $$x$$\n",
		"word end":           head + "    A->>DB: the end of it\n",
		"no text":            head + "    A->>DB\n",
		"long":               head + "    A->>DB: " + strings.Repeat("x", maxLineRunes+1) + "\n",
		"late participant":   head + "    A->>DB: x\n    participant C as Client C\n",
		"twice":              head + "    participant A as Buyer B\n    A->>DB: x\n",
		"reserved":           head + "    participant End as Client\n    A->>DB: x\n    A->>End: x\n",
		"empty line":         head + "\n    A->>DB: x\n",
		"note of a stranger": head + "    A->>DB: x\n    Note over C: x\n",
	} {
		if s, err := parseSequence(text); err == nil {
			t.Errorf("%s: no error, but %+v", name, s)
		}
	}
}
