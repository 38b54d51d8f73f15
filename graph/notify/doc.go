// Package notify reads what Microsoft Graph posts to a notification URL: the envelope, lifecycle
// items, basic items and rich (encrypted) items about presence.
//
// There are two doors. [ScanHeads] is for the public receiver, which holds no key: one cheap pass
// that says per item which clientState it carries. [Decoder.Decode] is for the owner of the account:
// it verifies the validation tokens, checks each item's clientState, tenant and dataSignature,
// decrypts, and hands back one [Item] per item of the body, in order. Both share one parser, so they
// never disagree about what a body says.
//
// What is guaranteed:
//
//   - An item stands by itself. Whatever is wrong inside one (a type, an id, the signature) becomes
//     that item's error, a typed [*Error] with a [Reason], and never costs its neighbours. Only
//     bytes that are not JSON, or a body above the limit, refuse the whole.
//   - A rich item is believed only after its clientState, its tenant, a passing validation token and
//     its HMAC, in this order, and nothing is decrypted before its HMAC was compared.
//   - "Cannot be judged now" (Microsoft's signing keys out of reach) is not "refused":
//     [Result.Retry] says so, and the body must be kept and decoded again later.
//
// A trailing comma before } or ], as in the sample of Microsoft's own announcement of the basic
// presence item, is tolerated: the body is read without it and counted as
// presence_bridge_notify_oddities_total{oddity="trailing_comma"}. Everything else that is not JSON
// (RFC 8259) is refused, except that ill-formed UTF-8 inside a string is replaced by U+FFFD, which
// spoils at most the item that holds it.
//
// Facts that the code obeys carry the name of their page: learn:X is the page X below
// learn.microsoft.com/en-us/graph.
package notify
