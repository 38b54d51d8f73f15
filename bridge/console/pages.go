package console

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"presencebridge/bridge/console/client/api"
)

// The pages of the web console. They need no script, load nothing from anywhere and change nothing; html/template escapes what
// they show, and the browser is told to run and to fetch nothing.

//go:embed pages/*.html
var pageFiles embed.FS

// pagePolicy is what a browser may do with a page: show it, and send its forms back to us.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func loadPages() (*template.Template, error) {
	t, err := template.ParseFS(pageFiles, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("console: pages: %w", err)
	}
	return t, nil
}

// page answers with a page that is neither kept nor told to the next one where it came from.
func (c *Console) page(ctx echo.Context, status int, name string, data any) error {
	var body bytes.Buffer
	if err := c.pages.ExecuteTemplate(&body, name, data); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	h := ctx.Response().Header()
	h.Set(echo.HeaderContentSecurityPolicy, pagePolicy)
	h.Set(echo.HeaderXContentTypeOptions, "nosniff")
	h.Set(echo.HeaderXFrameOptions, "DENY")
	h.Set(echo.HeaderReferrerPolicy, "no-referrer")
	h.Set(echo.HeaderCacheControl, "no-store")
	return ctx.HTMLBlob(status, body.Bytes())
}

// loginPage asks for the token.
type loginPage struct{ Next, Problem string }

// explainPage asks whom and which moment to explain, and shows the answer.
type explainPage struct {
	Accounts []string
	// What the form holds.
	Account, User, At, Since, Zone string

	Problem string
	Found   []foundMember // to choose from, where one was not named
	More    bool          // there are more of them
	Blocks  []block       // the explanation
}

// foundMember is somebody who may be meant.
type foundMember struct {
	Account, ID, Name, UPN, Phones, At, Since, Zone string
}

// block is a paragraph of an explanation: a line, and what belongs to it.
type block struct {
	Lead  string
	Lines []string
}

// maxFound is how many people a search shows.
const maxFound = 25

// home is the form alone.
func (c *Console) home(ctx echo.Context) error {
	p := explainPage{Zone: zoneName()}
	names, err := c.pageAccounts(ctx.Request().Context(), "")
	if err != nil {
		return c.pageProblem(ctx, &p, err)
	}
	p.Accounts = names
	return c.page(ctx, http.StatusOK, "explain.html", &p)
}

// zoneName is the zone of the machine, where times of day are read in unless the form says another.
func zoneName() string { return time.Now().Format("-07:00") }

// explainWeb shows why a member looks as they do, found by id, UPN, mail or extension; any other text finds whoever has it in
// one of these or in the name.
func (c *Console) explainWeb(ctx echo.Context) error {
	p := explainPage{Account: ctx.QueryParam("account"), User: strings.TrimSpace(ctx.QueryParam("user")), At: ctx.QueryParam("at"),
		Since: ctx.QueryParam("since"), Zone: strings.TrimSpace(ctx.QueryParam("zone"))}
	if p.Zone == "" {
		p.Zone = zoneName()
	}
	accounts, err := c.pageAccounts(ctx.Request().Context(), "")
	if err != nil {
		return c.pageProblem(ctx, &p, err)
	}
	p.Accounts = accounts
	q, err := p.query(time.Now())
	if err != nil {
		return c.pageProblem(ctx, &p, err)
	}
	if accounts, err = c.pageAccounts(ctx.Request().Context(), p.Account); err != nil {
		return c.pageProblem(ctx, &p, err)
	}
	found, err := c.explainAny(ctx.Request().Context(), accounts, p.User, q)
	switch {
	case err != nil:
		return c.pageProblem(ctx, &p, err)
	case len(found) == 1:
		p.Account, p.Blocks = found[0].Account, blocksOf(found[0].Text)
		return c.page(ctx, http.StatusOK, "explain.html", &p)
	}
	for i := range found {
		p.Found = append(p.Found, p.link(found[i].Account, &api.Member{ID: found[i].Member, Name: found[i].Name, UPN: found[i].UPN}))
	}
	if len(found) > 1 {
		p.Problem = fmt.Sprintf("%q is in several accounts. Choose one:", p.User)
		return c.page(ctx, http.StatusOK, "explain.html", &p)
	}
	if err := c.search(ctx.Request().Context(), accounts, &p); err != nil {
		return c.pageProblem(ctx, &p, err)
	}
	status := http.StatusOK
	switch {
	case len(p.Found) == 0:
		status, p.Problem = http.StatusNotFound, fmt.Sprintf("Nobody has %q as id, UPN, mail address or extension, nor in any of these or the name.", p.User)
	case p.User == "":
		p.Problem = "Choose a member, or write an id, a UPN, a mail address or an extension."
	default:
		p.Problem = fmt.Sprintf("Nobody has exactly %q as id, UPN, mail address or extension. Do you mean one of these?", p.User)
	}
	return c.page(ctx, status, "explain.html", &p)
}

// query reads what the form says about time.
func (p *explainPage) query(now time.Time) (q ExplainQuery, err error) {
	if q.Zone, err = zoneOf("Time zone", p.Zone); err != nil {
		return q, err
	}
	now = now.In(q.Zone)
	if q.At, err = api.ParseMoment(p.At, now); err != nil {
		return q, invalid("Moment: " + err.Error())
	}
	if q.Since, err = api.ParseSince(p.Since, q.At, now); err != nil {
		return q, invalid("Since: " + err.Error())
	}
	return q, nil
}

// pageAccounts are the accounts, or the one that was asked for.
func (c *Console) pageAccounts(ctx context.Context, only string) ([]string, error) {
	accounts, err := c.cfg.Backend.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range accounts {
		if only == "" || accounts[i].Name == only {
			names = append(names, accounts[i].Name)
		}
	}
	if only != "" && len(names) == 0 {
		return nil, NotFound("there is no account %q", only)
	}
	return names, nil
}

// explainAny explains a member in each account that has one of that key.
func (c *Console) explainAny(ctx context.Context, accounts []string, key string, q ExplainQuery) ([]api.Explanation, error) {
	var out []api.Explanation
	if key == "" {
		return nil, nil
	}
	for _, name := range accounts {
		e, err := c.cfg.Backend.Explain(ctx, name, key, q)
		var known *Error
		switch {
		case errors.As(err, &known) && known.status == http.StatusNotFound:
		case err != nil:
			return nil, err
		default:
			e.Account = name
			out = append(out, e)
		}
	}
	return out, nil
}

// search finds whoever has the text somewhere.
func (c *Console) search(ctx context.Context, accounts []string, p *explainPage) error {
	for _, name := range accounts {
		left := maxFound - len(p.Found)
		if left == 0 {
			p.More = true
			return nil
		}
		page, err := c.cfg.Backend.Members(ctx, name, MemberQuery{Limit: left, Text: p.User})
		if err != nil {
			return err
		}
		for i := range page.Members {
			p.Found = append(p.Found, p.link(name, &page.Members[i]))
		}
		p.More = p.More || page.Next != ""
	}
	return nil
}

// link is somebody to choose, with the times that the form holds.
func (p *explainPage) link(account string, m *api.Member) foundMember {
	f := foundMember{Account: account, ID: m.ID, Name: m.Name, UPN: m.UPN, At: p.At, Since: p.Since, Zone: p.Zone}
	if f.Name == "" {
		f.Name = m.ID
	}
	var phones []string
	for i := range m.Endpoints {
		ep := &m.Endpoints[i]
		number := ep.Extension
		if number == "" {
			number = ep.User
		}
		phones = append(phones, number+" on "+ep.PBX)
	}
	f.Phones = strings.Join(phones, ", ")
	return f
}

// blocksOf takes the text that a terminal would show apart, so that a browser can show the same sentences as paragraphs.
func blocksOf(text string) []block {
	var out []block
	fresh := true
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		switch {
		case strings.TrimSpace(line) == "":
			fresh = true
		case fresh || len(out) == 0:
			out = append(out, block{Lead: strings.TrimSpace(line)})
			fresh = false
		default:
			last := &out[len(out)-1]
			last.Lines = append(last.Lines, strings.TrimPrefix(strings.TrimSpace(line), "- "))
		}
	}
	return out
}

// pageProblem shows an error on the form. Like in the API, what was not meant for people is logged alone.
func (c *Console) pageProblem(ctx echo.Context, p *explainPage, err error) error {
	known := explain(err)
	if known.status >= http.StatusInternalServerError && ctx.Request().Context().Err() == nil {
		c.log.Error("admin page failed", "route", ctx.Path(), "status", known.status, "error", err)
	}
	p.Problem = known.detail
	for _, key := range known.candidates {
		p.Found = append(p.Found, p.link(p.Account, &api.Member{ID: key}))
	}
	return c.page(ctx, known.status, "explain.html", p)
}
