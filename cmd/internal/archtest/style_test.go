package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	maxFileLines = 800
	maxFuncLines = 100
)

// source is a parsed Go file.
type source struct {
	name string // relative to the repository
	file *ast.File
	fset *token.FileSet
}

func (s source) lines(n ast.Node) int {
	return s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line + 1
}

func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

// sources parses every Go file of the repository that nobody generated, by folder.
func sources(t *testing.T) map[string][]source {
	t.Helper()
	base := root(t)
	found := map[string][]source{}
	err := filepath.WalkDir(base, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != base && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(base, path)
		if err != nil || ast.IsGenerated(f) {
			return err
		}
		dir := filepath.Dir(rel)
		found[dir] = append(found[dir], source{name: rel, file: f, fset: fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestPackageComments(t *testing.T) {
	for dir, files := range sources(t) {
		documented := false
		for _, s := range files {
			want := "Package " + s.file.Name.Name + " "
			if s.file.Name.Name == "main" {
				want = "Command "
			}
			doc := s.file.Doc.Text()
			documented = documented || strings.HasPrefix(doc, want)
			if doc != "" && !strings.HasPrefix(doc, want) && !s.test() {
				t.Errorf("%s: the package comment begins %.30q, not %q", s.name, doc, want)
			}
		}
		if !documented {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

func TestFilesAndFunctions(t *testing.T) {
	for _, files := range sources(t) {
		for _, s := range files {
			if n := s.fset.Position(s.file.FileEnd).Line; n > maxFileLines {
				t.Errorf("%s has %d lines, more than %d", s.name, n, maxFileLines)
			}
			for _, d := range s.file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok {
					checkFunc(t, s, f)
					if s.test() && !virtualTime(files) {
						checkSleeps(t, s, f)
					}
				}
			}
		}
	}
}

func checkFunc(t *testing.T, s source, f *ast.FuncDecl) {
	t.Helper()
	at := s.fset.Position(f.Pos()).Line
	if f.Recv == nil && f.Name.Name == "init" {
		t.Errorf("%s:%d: an init function", s.name, at)
	}
	if n := s.lines(f); n > maxFuncLines {
		t.Errorf("%s:%d: %s has %d lines, more than %d", s.name, at, f.Name.Name, n, maxFuncLines)
	}
}

func checkSleeps(t *testing.T, s source, f *ast.FuncDecl) {
	t.Helper()
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "Sleep" {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
			t.Errorf("%s:%d: a test that sleeps; wait for a condition, or use testing/synctest", s.name, s.fset.Position(sel.Pos()).Line)
		}
		return true
	})
}

// virtualTime reports whether a package's tests run in virtual time, where a sleep costs nothing. Helpers are called
// from within bubbles that other files open, so the package is asked as a whole.
func virtualTime(files []source) bool {
	return slices.ContainsFunc(files, func(s source) bool {
		return slices.ContainsFunc(s.file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` })
	})
}
