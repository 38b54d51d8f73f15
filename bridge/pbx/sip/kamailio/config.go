package kamailio

// configuration is as small as it can be: presence with digest authentication, and switches for the tests.
const configuration = `#!KAMAILIO
debug=1
log_stderror=yes
fork=yes
children=2
tcp_children=2
tcp_connection_lifetime=3605
tcp_accept_no_cl=yes
tcp_crlf_ping=yes
auto_aliases=no
{{if .TLSPort}}enable_tls=yes
{{end}}mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/:/usr/lib/aarch64-linux-gnu/kamailio/modules/:/usr/lib/kamailio/modules/"
listen=udp:127.0.0.1:{{.Port}}
listen=tcp:127.0.0.1:{{.Port}}
{{if .TLSPort}}listen=tls:127.0.0.1:{{.TLSPort}}
{{end}}listen=udp:127.0.0.1:{{.Phones}}
alias="{{.Domain}}"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "htable.so"
loadmodule "auth.so"
loadmodule "nathelper.so"
loadmodule "jsonrpcs.so"
{{if .TLSPort}}loadmodule "tls.so"
modparam("tls", "private_key", "{{.Dir}}/key.pem")
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "{{.Dir}}/cert.pem")
{{end}}loadmodule "db_sqlite.so"
loadmodule "presence.so"
loadmodule "presence_xml.so"
{{if .Dialog}}loadmodule "presence_dialoginfo.so"
{{end}}modparam("jsonrpcs", "transport", 4)
modparam("jsonrpcs", "dgram_socket", "{{.Dir}}/rpc")
modparam("htable", "htable", "set=>size=4;")
modparam("tm", "fr_timer", 3000)
modparam("presence", "db_url", "sqlite:///{{.Dir}}/kamailio.db")
modparam("presence", "server_address", "sip:127.0.0.1:{{.Port}}")
modparam("presence", "subs_db_mode", 0)
modparam("presence", "publ_cache", 0)
modparam("presence", "max_expires", {{.Max}})
modparam("presence", "clean_period", 5)
{{if .MinExpires}}modparam("presence", "min_expires", {{.MinExpires}})
modparam("presence", "min_expires_action", 2)
{{end}}modparam("presence_xml", "db_url", "sqlite:///{{.Dir}}/kamailio.db")
modparam("presence_xml", "force_active", 1)
modparam("auth", "nonce_expire", 300)
modparam("auth", "algorithm", "{{"SHA-256"}}")

event_route[htable:mod-init] {
  $sht(set=>password) = "{{.Password}}";
  $sht(set=>mode) = "ok";
  $sht(set=>wait) = "0";
  $sht(set=>realm) = "{{.Domain}}";
}

request_route {
  if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
  if ($Rp != {{.Phones}}) {
    if ($sht(set=>mode) == "silent") { exit; }
    if (is_method("OPTIONS")) { sl_send_reply("200", "OK"); exit; }
    if ($sht(set=>mode) == "500") { sl_send_reply("500", "Broken"); exit; }
    if ($sht(set=>mode) == "403") { sl_send_reply("403", "Forbidden"); exit; }
    if ($sht(set=>mode) == "404") { sl_send_reply("404", "Not Found"); exit; }
    if ($sht(set=>mode) == "503") {
      append_to_reply("Retry-After: $sht(set=>wait)\r\n");
      sl_send_reply("503", "Busy"); exit;
    }
    if (!pv_www_authenticate("$sht(set=>realm)", "$sht(set=>password)", "0")) {
      www_challenge("$sht(set=>realm)", "1"); exit;
    }
    consume_credentials();
    fix_nated_contact();
  }
  if (is_method("OPTIONS")) { sl_send_reply("200", "OK"); exit; }
  if (is_method("PUBLISH")) {
    if (!t_newtran()) { sl_reply_error(); exit; }
    handle_publish(); t_release(); exit;
  }
  if (is_method("SUBSCRIBE")) {
    if (!t_newtran()) { sl_reply_error(); exit; }
    handle_subscribe(); t_release(); exit;
  }
  sl_send_reply("405", "Method Not Allowed");
}
`
