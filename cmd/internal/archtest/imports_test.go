package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "presencebridge"

// pkg is what `go list -json` says about a package.
type pkg struct {
	ImportPath, Dir, Name              string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
}

// rel is the package's path in the module: "bridge/bus".
func (p pkg) rel() string { return relative(p.ImportPath) }

func (p pkg) testImports() []string { return slices.Concat(p.TestImports, p.XTestImports) }

func relative(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

func internal(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

// root is the folder of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "..", "..", "..")
}

var list = sync.OnceValues(func() ([]byte, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Name,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = filepath.Join("..", "..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.New(err.Error() + ": " + stderr.String())
	}
	return out, nil
})

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := list()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 5 {
		t.Fatalf("go list found %d packages only", len(pkgs))
	}
	return pkgs
}

// match reports whether an import path or a package falls under a pattern: a path, or one ending in /... for
// everything at or below it, or in /* for everything directly below it.
func match(pattern, p string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return p == base || strings.HasPrefix(p, base+"/")
	}
	if strings.HasSuffix(pattern, "/*") {
		ok, _ := path.Match(pattern, p)
		return ok
	}
	return pattern == p
}

func matchAny(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(pattern, p) })
}

// layers say which packages of the module a package may import, besides those below itself and presence; the
// first line that matches counts. Tests may also import simulators and their own subject.
func layers() []struct{ from, to []string } {
	type l = struct{ from, to []string }
	return []l{
		{[]string{"cmd/..."}, []string{"..."}},
		// Adapters between a package and the bus, so that neither sees the other.
		{[]string{"monitors/wire", "bridge/directory/wire"}, []string{"graph", "monitors", "bridge/directory", "bridge/bus"}},
		{[]string{"webhook/..."}, []string{"graph", "graph/notify"}},
		{[]string{"monitors/..."}, []string{"graph", "graph/notify", "monitors/...", "bridge/keyring"}},
		{[]string{"graph/graphsim/..."}, nil},
		{[]string{"graph/..."}, []string{"graph", "graph/notify"}},
		{[]string{"bridge/presence"}, nil},
		{[]string{"bridge"}, []string{"bridge/policy", "bridge/pbx"}},
		{[]string{"bridge/policy", "bridge/pbx"}, nil},
		{[]string{"bridge/policy/cases"}, []string{"bridge/policy"}},
		{[]string{"bridge/explore"}, []string{"bridge", "bridge/policy", "bridge/pbx"}},
		{[]string{"bridge/explain"}, []string{"bridge"}},
		{[]string{"bridge/replay"}, []string{"bridge", "bridge/policy", "bridge/pbx"}},
		{[]string{"bridge/scenario"}, nil},
		{[]string{"bridge/bus", "bridge/keyring"}, nil},
		{[]string{"bridge/directory"}, []string{"bridge/pbx"}},
		{[]string{"bridge/teams"}, []string{"graph", "bridge"}},
		{[]string{"bridge/pbx/simkit"}, nil},
		{[]string{"bridge/pbx/pbxsim/...", "bridge/pbx/threecxsim/...", "bridge/pbx/sipsim/..."}, []string{"bridge/pbx/simkit"}},
		{[]string{"bridge/pbx/sip/kamailio"}, nil},
		{[]string{"bridge/pbx/..."}, []string{"bridge/pbx", "bridge/pbx/link"}},
		{[]string{"bridge/console/..."}, []string{"bridge", "bridge/pbx", "bridge/policy"}},
	}
}

func TestLayers(t *testing.T) {
	for _, p := range packages(t) {
		allowed, ok := allowedFor(p.rel())
		if !ok {
			t.Errorf("%s has no line in layers(): say what it may import", p.rel())
			continue
		}
		for _, imp := range p.Imports {
			to := relative(imp)
			if !internal(imp) || to == "bridge/presence" || match(p.rel()+"/...", to) && !isPBX(p.rel(), to) {
				continue
			}
			if !matchAny(allowed, to) && !slices.Contains(allowed, "...") {
				t.Errorf("%s imports %s; the layers allow it %v", p.rel(), to, allowed)
			}
		}
	}
}

// isPBX reports an import that the rule "what is below oneself" does not cover: bridge sees no vendor and no
// adapter, though they lie below it.
func isPBX(from, to string) bool {
	return from == "bridge" || from == "bridge/pbx" || from == "graph" && to == "graph/graphsim"
}

func allowedFor(rel string) ([]string, bool) {
	for _, l := range layers() {
		if matchAny(l.from, rel) {
			return l.to, true
		}
	}
	return nil, false
}

// bans keep imports out of packages. Unless prod is set they hold for tests as well.
type ban struct {
	what   []string
	but    []string // of what, imports that are no harm
	except []string // packages that may import it
	only   []string // packages that the ban is for; nil means all
	prod   bool
	why    string
}

func bans() []ban {
	pure := []string{"bridge", "bridge/policy", "bridge/presence"}
	return []ban{
		{what: []string{"github.com/nats-io/nats.go/...", "github.com/nats-io/nats-server/v2/..."}, except: []string{"bridge/bus"}, prod: true, why: "bridge/bus is the only importer of NATS"},
		{what: []string{"github.com/nats-io/nats.go/...", "github.com/nats-io/nats-server/v2/...", "net/http", "net/http/...", "github.com/labstack/echo/...", "github.com/microsoftgraph/...", "github.com/microsoft/...", "github.com/Azure/...", module + "/graph/...", module + "/bridge/bus", module + "/bridge/pbx/*"},
			only: pure, why: "the core sees neither NATS nor HTTP nor Graph nor a vendor"},
		{what: []string{"github.com/labstack/echo/..."}, except: []string{"webhook", "bridge/console"}, why: "Echo appears in webhook and bridge/console only"},
		{what: []string{"github.com/microsoftgraph/msgraph-sdk-go"}, why: "the SDK's root client makes a cold build take minutes"},
		{what: []string{"github.com/microsoftgraph/..."}, except: []string{"graph"}, prod: true, why: "graph is the only importer of the SDK"},
		{what: []string{module + "/graph", module + "/graph/notify"}, only: []string{"graph/graphsim/..."}, prod: true, why: "the simulated tenant is the other side's view and shares no code with ours"},
		{what: []string{module + "/bridge/..."}, but: []string{module + "/bridge/pbx/simkit"}, only: []string{"bridge/pbx/simkit", "bridge/pbx/pbxsim/...", "bridge/pbx/threecxsim/...", "bridge/pbx/sipsim/...", "bridge/pbx/sip/kamailio"}, prod: true, why: "the simulated PBX is the other side's view and shares no code with ours"},
		{what: []string{module + "/graph/graphsim/...", module + "/bridge/pbx/pbxsim/...", module + "/bridge/pbx/threecxsim/...", module + "/bridge/pbx/sipsim/...", module + "/bridge/pbx/sip/kamailio"}, except: []string{"cmd/...", "graph/graphsim/...", "bridge/pbx/pbxsim/...", "bridge/pbx/threecxsim/...", "bridge/pbx/sipsim/...", "bridge/pbx/sip/kamailio", "bridge/pbx/pbxtest"}, prod: true, why: "only the program's own commands and tests use simulators"},
		{what: []string{module + "/bridge/pbx/simkit"}, except: []string{"bridge/pbx/pbxsim/...", "bridge/pbx/threecxsim/...", "bridge/pbx/sipsim/..."}, prod: true, why: "the simulators' kit is for simulators and tests; no connector may lean on what its simulator leans on"},
		{what: []string{module + "/bridge/policy"}, only: []string{"graph/..."}, why: "graph never sees policy"},
	}
}

func TestBans(t *testing.T) {
	for _, p := range packages(t) {
		for _, b := range bans() {
			if b.only != nil && !matchAny(b.only, p.rel()) || matchAny(b.except, p.rel()) {
				continue
			}
			imports := p.Imports
			if !b.prod {
				imports = slices.Concat(imports, p.testImports())
			}
			for _, imp := range imports {
				if matchAny(b.what, imp) && !matchAny(b.but, imp) && imp != p.ImportPath {
					t.Errorf("%s imports %s: %s", p.rel(), imp, b.why)
				}
			}
		}
	}
}

// TestCoreIsPureThroughout follows the module's own imports: the core may not reach NATS or HTTP by way of a
// package between.
func TestCoreIsPureThroughout(t *testing.T) {
	byPath := map[string]pkg{}
	for _, p := range packages(t) {
		byPath[p.ImportPath] = p
	}
	forbidden := []string{"net/http", "github.com/nats-io/...", "github.com/labstack/...", "github.com/microsoftgraph/..."}
	for _, start := range []string{"bridge", "bridge/policy", "bridge/presence"} {
		for p := range reach(byPath, module+"/"+start) {
			for _, imp := range byPath[p].Imports {
				if matchAny(forbidden, imp) {
					t.Errorf("%s reaches %s through %s", start, imp, relative(p))
				}
			}
		}
	}
}

// reach lists the module's packages that one needs, itself included.
func reach(byPath map[string]pkg, start string) map[string]bool {
	reached := map[string]bool{}
	queue := []string{start}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		if reached[p] || !internal(p) {
			continue
		}
		reached[p] = true
		queue = append(queue, byPath[p].Imports...)
	}
	return reached
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"a/...", "a", true}, {"a/...", "a/b/c", true}, {"a/...", "ab", false},
		{"a/*", "a/b", true}, {"a/*", "a", false}, {"a/*", "a/b/c", false},
		{"a", "a", true}, {"a", "a/b", false},
	} {
		if got := match(c.pattern, c.path); got != c.want {
			t.Errorf("match(%q, %q) = %v", c.pattern, c.path, got)
		}
	}
}

func TestTopLevelFolders(t *testing.T) {
	ignored, err := os.ReadFile(filepath.Join(root(t), ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		skip := strings.HasPrefix(e.Name(), ".") || strings.Contains(string(ignored), "/"+e.Name()+"/\n")
		if e.IsDir() && !skip {
			got = append(got, e.Name())
		}
	}
	want := []string{"bridge", "cmd", "deploy", "graph", "monitors", "webhook"}
	if !slices.Equal(got, want) {
		t.Errorf("top-level folders are %v, want %v", got, want)
	}
}
