//! A server of objects on this machine: as much of HTTP/1.1, and of the lists of S3 and Google Cloud Storage, as their
//! clients use, and what goes wrong on the way.
#![allow(dead_code, missing_docs, reason = "each test binary uses its own part")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// What becomes of one request for an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends in the middle of the body.
    Drop,
    /// Nothing comes any more.
    Hang,
    /// Nothing comes any more in the middle of the body.
    Stall,
    /// This status, and no object.
    Status(u16),
    /// The length and the body are one byte shorter than the range.
    Short,
    /// As `Short`, by one byte more.
    Long,
    /// The whole object, whatever was asked for.
    NoRanges,
    /// The tag of another version, whatever was asked for.
    OtherTag,
}

#[derive(Debug, Default)]
struct Object {
    bytes: Arc<Vec<u8>>,
    tag: Option<String>,
    faults: VecDeque<Fault>,
    /// Applied when no others are left.
    always: Option<Fault>,
    ranges: Vec<Range<usize>>,
}

#[derive(Debug, Default)]
struct State {
    /// By the path of the URL.
    objects: BTreeMap<String, Object>,
    /// How long answers for paths that begin so take.
    delay: Option<(String, Duration)>,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    state: Mutex<State>,
    port: u16,
}

/// Longer than any client waits.
const LONG: Duration = Duration::from_secs(600);

/// Keys on a page of a list.
const PAGE_KEYS: usize = 2;

/// Parts of a body between which a connection may break.
const PART_BYTES: usize = 100_000;

/// The one server of this process.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<&'static Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server: &'static Server = Box::leak(Box::new(Server { state: Mutex::default(), port }));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || server.serve(stream.unwrap()));
            }
        });
        server
    })
}

impl Server {
    /// `http://host:port`
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Puts `bytes` at `path`, as a new version of what was there, and returns its http URL.
    pub fn put(&self, path: &str, bytes: Vec<u8>) -> PathBuf {
        let mut state = self.state.lock().unwrap();
        let object = state.objects.entry(path.to_string()).or_default();
        let sum =
            bytes.iter().fold(bytes.len(), |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        object.tag = Some(format!("\"{sum:x}\""));
        object.bytes = Arc::new(bytes);
        PathBuf::from(format!("{}/{path}", self.address()))
    }

    /// Answers for paths that begin with `prefix` take this long.
    pub fn delay(&self, prefix: &str, duration: Duration) {
        self.state.lock().unwrap().delay = Some((prefix.to_string(), duration));
    }

    fn with<T>(&self, path: &str, change: impl FnOnce(&mut Object) -> T) -> T {
        change(self.state.lock().unwrap().objects.get_mut(path).unwrap())
    }

    /// Sets the tag of an object.
    pub fn tag(&self, path: &str, tag: Option<&str>) {
        self.with(path, |object| object.tag = tag.map(str::to_string));
    }

    /// The next requests for `path` go wrong.
    pub fn fail(&self, path: &str, faults: &[Fault]) {
        self.with(path, |object| object.faults = faults.iter().copied().collect());
    }

    /// All further requests for `path` go wrong.
    pub fn fail_always(&self, path: &str, fault: Fault) {
        self.with(path, |object| object.always = Some(fault));
    }

    /// What was asked of `path` so far; it is forgotten.
    pub fn take_ranges(&self, path: &str) -> Vec<Range<usize>> {
        self.with(path, |object| std::mem::take(&mut object.ranges))
    }

    fn serve(&self, stream: TcpStream) {
        let mut read = BufReader::new(stream.try_clone().unwrap());
        let mut write = stream;
        while let Some(request) = Request::read(&mut read) {
            let answered = if request.query.contains("list-type=2") {
                self.list(&request, &mut write)
            } else {
                self.object(&request, &mut write)
            };
            if !matches!(answered, Ok(true)) {
                return;
            }
        }
    }

    /// Answers with an object; false when the connection is to end.
    fn object(&self, request: &Request, write: &mut TcpStream) -> std::io::Result<bool> {
        let mut state = self.state.lock().unwrap();
        let delay = state.delay.as_ref().filter(|(prefix, _)| request.path.starts_with(prefix)).map(|d| d.1);
        let Some(object) = state.objects.get_mut(&request.path) else {
            return status(write, 404, "no such object");
        };
        let fault = object.faults.pop_front().or(object.always);
        let (bytes, mut tag) = (object.bytes.clone(), object.tag.clone());
        let range = request.range.clone().filter(|_| fault != Some(Fault::NoRanges));
        let asked = range.clone().unwrap_or(0..bytes.len());
        object.ranges.push(asked.start..asked.end.min(bytes.len()));
        drop(state);
        std::thread::sleep(delay.unwrap_or_default());
        match fault {
            Some(Fault::Status(code)) => return status(write, code, "<Error>come back later</Error>"),
            Some(Fault::Hang) => {
                std::thread::sleep(LONG);
                return Ok(false);
            }
            Some(Fault::OtherTag) => tag = Some("\"other\"".to_string()),
            _ if request.if_match.as_ref().is_some_and(|wanted| Some(wanted) != tag.as_ref()) => {
                return status(write, 412, "another version");
            }
            _ => {}
        }
        if asked.start >= bytes.len() && range.is_some() {
            return status(write, 416, "no such range");
        }
        let mut body = bytes[asked.start..asked.end.min(bytes.len())].to_vec();
        let (code, content_range) = match range {
            Some(_) => {
                let end = asked.end.min(bytes.len()) - 1;
                (
                    "206 Partial Content",
                    format!("Content-Range: bytes {}-{end}/{}\r\n", asked.start, bytes.len()),
                )
            }
            None => ("200 OK", String::new()),
        };
        match fault {
            Some(Fault::Short) => body.truncate(body.len() - 1),
            Some(Fault::Long) => body.push(0),
            _ => {}
        }
        let tag = tag.map(|tag| format!("ETag: {tag}\r\n")).unwrap_or_default();
        write!(
            write,
            "HTTP/1.1 {code}\r\nContent-Length: {}\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n{tag}{content_range}\r\n",
            body.len()
        )?;
        if request.method == "HEAD" {
            return Ok(true);
        }
        if matches!(fault, Some(Fault::Drop | Fault::Stall)) {
            body.truncate(body.len() / 2);
        }
        for part in body.chunks(PART_BYTES) {
            write.write_all(part)?;
        }
        if fault == Some(Fault::Stall) {
            std::thread::sleep(LONG);
        }
        Ok(fault != Some(Fault::Drop))
    }

    /// Answers with a page of the list of a bucket.
    fn list(&self, request: &Request, write: &mut TcpStream) -> std::io::Result<bool> {
        let argument = |name: &str| {
            let value = request.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.map(|value| decoded(&value.replace('+', " ")))
        };
        let bucket = format!("{}/", request.path.trim_end_matches('/'));
        let (prefix, after) = (argument("prefix").unwrap_or_default(), argument("continuation-token"));
        let state = self.state.lock().unwrap();
        // In another order than that of their names, as stores may have it.
        let mut keys =
            state.objects.iter().rev().filter_map(|(path, o)| Some((path.strip_prefix(&bucket)?, o)));
        let mut page: Vec<_> = keys
            .by_ref()
            .filter(|(key, _)| key.starts_with(&prefix))
            .skip_while(|(key, _)| after.as_ref().is_some_and(|after| *key >= after.as_str()))
            .take(PAGE_KEYS + 1)
            .collect();
        let is_truncated = page.len() > PAGE_KEYS;
        page.truncate(PAGE_KEYS);
        let mut xml = format!("<ListBucketResult><IsTruncated>{is_truncated}</IsTruncated>");
        if let Some((last, _)) = page.last().filter(|_| is_truncated) {
            xml += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
        }
        for (key, object) in page {
            xml += &format!(
                "<Contents><Key>{key}</Key><LastModified>2015-10-21T07:28:00.000Z</LastModified>\
                 <ETag>&quot;x&quot;</ETag><Size>{}</Size></Contents>",
                object.bytes.len()
            );
        }
        xml += "</ListBucketResult>";
        write!(write, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{xml}", xml.len())?;
        Ok(true)
    }
}

fn status(write: &mut TcpStream, code: u16, text: &str) -> std::io::Result<bool> {
    write!(write, "HTTP/1.1 {code} No\r\nContent-Length: {}\r\n\r\n{text}", text.len())?;
    Ok(true)
}

/// Text of a URL without its escapes.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut plain = parts.next().unwrap().to_string();
    for part in parts {
        let (code, rest) = part.split_at(2);
        plain.push(u8::from_str_radix(code, 16).unwrap().into());
        plain += rest;
    }
    plain
}

struct Request {
    method: String,
    path: String,
    query: String,
    range: Option<Range<usize>>,
    if_match: Option<String>,
}

impl Request {
    fn read(read: &mut impl BufRead) -> Option<Request> {
        let mut line = String::new();
        read.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let mut words = line.split(' ');
        let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let path = decoded(path.trim_start_matches('/'));
        let mut request = Request { method, path, query: query.to_string(), range: None, if_match: None };
        loop {
            let mut line = String::new();
            read.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { return Some(request) };
            match name.to_ascii_lowercase().as_str() {
                "range" => {
                    let (start, end) = value.strip_prefix("bytes=")?.split_once('-')?;
                    request.range = Some(start.parse().ok()?..end.parse::<usize>().ok()? + 1);
                }
                "if-match" => request.if_match = Some(value.to_string()),
                _ => {}
            }
        }
    }
}
