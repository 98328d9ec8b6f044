//! What of a URL may be shown: neither the user and password before its host nor the values of its query, which in a
//! presigned URL are a key to the object.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// What stands in place of what is not shown.
const HIDDEN: &str = "***";

/// Displays a path, or a URL without what is secret in it, see [`redact`].
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string_lossy();
        let is_url = text.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme));
        // All of a path that is a URL is the URL, blanks too.
        if is_url { f.write_str(&redact_url(&text)) } else { f.write_str(&redact(&text)) }
    }
}

/// Writes an error for developers: the name of its type, and what it says to people, without what is secret in URLs. The
/// fields themselves may hold a path that is one.
///
/// # Errors
/// Those of `f`.
pub fn debug_error(name: &str, error: &dyn fmt::Display, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text = error.to_string();
    f.debug_tuple(name).field(&redact(&text)).finish()
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// A text in which URLs may stand, without what is secret in them: of `https://user:word@host/x?key=value` is shown
/// `https://***@host/x?key=***`.
pub fn redact(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, _)) = rest.split_once("://") {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let before = before.trim_end_matches(is_part);
        shown.push_str(before);
        let url = &rest[before.len()..];
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`');
        let end = url.find(ends).unwrap_or(url.len());
        let (url, behind) = url.split_at(end);
        // What ends the sentence, or begins the reason.
        let whole = url.trim_end_matches([':', ',', ';', '.', ')', ']', '}']);
        shown.push_str(&redact_url(whole));
        shown.push_str(&url[whole.len()..]);
        rest = behind;
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return HIDDEN.to_string() };
    let is_http = scheme.get(..4).is_some_and(|s| s.eq_ignore_ascii_case("http"));
    // Keys of buckets may have a question mark, and have no query.
    let query_at = rest.find('?').filter(|_| is_http).unwrap_or(rest.len());
    let (address, query) = rest.split_at(query_at);
    let (authority, path) = address.split_at(address.find('/').unwrap_or(address.len()));
    let mut shown = format!("{scheme}://");
    match authority.rsplit_once('@') {
        Some((_, host)) => shown.push_str(&format!("{HIDDEN}@{host}")),
        None => shown.push_str(authority),
    }
    shown.push_str(path);
    for (number, pair) in query.trim_start_matches('?').split('&').filter(|pair| !pair.is_empty()).enumerate()
    {
        shown.push(if number == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((key, _)) => shown.push_str(&format!("{key}={HIDDEN}")),
            // It may be a token by itself.
            None => shown.push_str(HIDDEN),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (text, shown) in [
            ("/a/b c.csv", "/a/b c.csv"),
            ("https://h/x?X-Amz-Signature=SECRET&a=SECRET", "https://h/x?X-Amz-Signature=***&a=***"),
            ("http://user:SECRET@h:8/x", "http://***@h:8/x"),
            ("HTTPS://u:S@ECRET@h/x?SECRET", "HTTPS://***@h/x?***"),
            ("s3://bucket/a?b=c", "s3://bucket/a?b=c"),
            ("https://h/x", "https://h/x"),
        ] {
            assert_eq!(Shown(Path::new(text)).to_string(), shown);
            let sentence = format!("({text}): it is gone, at \"{text}\" and {text}.");
            assert_eq!(redact(&sentence), format!("({shown}): it is gone, at \"{shown}\" and {shown}."));
        }
        assert_eq!(Shown(Path::new("https://h/x?a=SEC RET")).to_string(), "https://h/x?a=***");
        assert_eq!(redact("no URL: a://, and ://?x=1"), "no URL: a://, and ://?x=1");
    }
}
