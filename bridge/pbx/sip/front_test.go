package sip_test

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// newFront passes datagrams between the connector and a PBX that SIPp plays; what is not about dialogs it answers itself,
// since a scenario follows one subscription: OPTIONS with 200, the presence package with 489.
func newFront(t *testing.T, backend int) (port int) {
	front, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	back, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	_, text, err := net.SplitHostPort(front.LocalAddr().String())
	require.NoError(t, err)
	port, err = strconv.Atoi(text)
	require.NoError(t, err)
	var mu sync.Mutex
	var client net.Addr
	var work sync.WaitGroup
	work.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := front.ReadFrom(buf)
			if err != nil {
				return
			}
			mu.Lock()
			client = from
			mu.Unlock()
			msg := buf[:n]
			switch {
			case bytes.HasPrefix(msg, []byte("OPTIONS ")):
				_, _ = front.WriteTo(answerTo(msg, "200 OK"), from)
			case bytes.HasPrefix(msg, []byte("SUBSCRIBE ")) && bytes.Contains(msg, []byte("Event: presence")):
				_, _ = front.WriteTo(answerTo(msg, "489 Bad Event"), from)
			default:
				_, _ = back.WriteTo(msg, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: backend})
			}
		}
	})
	work.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, _, err := back.ReadFrom(buf)
			if err != nil {
				return
			}
			mu.Lock()
			to := client
			mu.Unlock()
			if to != nil {
				_, _ = front.WriteTo(buf[:n], to)
			}
		}
	})
	t.Cleanup(func() {
		_, _ = front.Close(), back.Close()
		work.Wait()
	})
	return port
}

// answerTo answers a request with the fields that an answer repeats (RFC 3261 section 8.2.6).
func answerTo(request []byte, status string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %s\r\n", status)
	for line := range strings.SplitSeq(string(request), "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "Via", "From", "Call-ID", "CSeq":
			b.WriteString(line + "\r\n")
		case "To":
			b.WriteString(line + ";tag=front\r\n")
		}
	}
	b.WriteString("Content-Length: 0\r\n\r\n")
	return []byte(b.String())
}
