package jsonfile_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"holdfast/internal/dev/jsonfile"
)

// TestReplace has writers and a reader at the same time: the reader sees a whole document, and nothing else remains.
func TestReplace(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made")
	path := filepath.Join(dir, "document.json")
	type document struct{ Names []string }
	var d document
	if found, err := jsonfile.Read(path, &d); found || err != nil {
		t.Fatalf("read without a file: %v, %v", found, err)
	}
	var writing sync.WaitGroup
	for range 4 {
		writing.Go(func() {
			for range 50 {
				if err := jsonfile.Replace(path, document{Names: make([]string, 1000)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 200 {
		var d document
		if found, err := jsonfile.Read(path, &d); err != nil || found && len(d.Names) != 1000 {
			t.Errorf("read %d names, error %v", len(d.Names), err)
		}
	}
	writing.Wait()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files remain, error %v", len(entries), err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := jsonfile.Read(path, &d); err == nil {
		t.Error("half a document was read")
	}
}
