//! What the description of a pipeline may open. A description is data that somebody else may have written: it names files
//! and URLs, and whoever runs it says which of them it may reach.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path, PathBuf};

use tightfit_format::location::Shown;

use crate::storage::SCHEMES;

/// The folders and URL schemes that a pipeline may open. The default is nothing.
///
/// ```
/// use tightfit_data::Access;
///
/// let access = Access::default().with_scheme("https").with_folder(std::env::temp_dir())?;
/// assert!(access.check(&std::env::temp_dir().join("new/data.tfrecord")).is_ok());
/// assert!(access.check(std::env::temp_dir().join("../data.tfrecord").as_path()).is_err());
/// assert!(access.check("http://example.com/data.npy".as_ref()).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A path lies in a folder when it does so with all symbolic links followed; `..` is refused, whatever it leads to. That
/// is looked at when a description is read and when its files are opened: an access is no guard against those who
/// change links in the folders at the same time.
///
/// Link-local addresses and the services on which clouds tell machines their credentials are refused, whatever the
/// schemes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// In lower case, without `://`.
    schemes: Vec<String>,
    folders: Folders,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Folders {
    Any,
    /// These and all below, with links followed.
    Only(Vec<PathBuf>),
}

impl Default for Folders {
    fn default() -> Folders {
        Folders::Only(Vec::new())
    }
}

impl Access {
    /// All local files, and URLs of all schemes that [`storage`](crate::storage) knows: for a description that comes
    /// from whoever runs it.
    pub fn everything() -> Access {
        let scheme = |prefix: &&str| prefix.trim_end_matches("://").to_string();
        Access { schemes: SCHEMES.iter().map(scheme).collect(), folders: Folders::Any }
    }

    /// The same, and what lies in `folder` or below it.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn with_folder(mut self, folder: impl AsRef<Path>) -> io::Result<Access> {
        let folder = folder.as_ref().canonicalize()?;
        if let Folders::Only(folders) = &mut self.folders {
            folders.push(folder);
        }
        Ok(self)
    }

    /// The same, and URLs of `scheme`, as `https`.
    #[must_use]
    pub fn with_scheme(mut self, scheme: &str) -> Access {
        self.schemes.push(scheme.to_ascii_lowercase());
        self
    }

    /// Whether `path`, a URL or the name of something that need not exist yet, may be opened.
    ///
    /// # Errors
    /// Why not, in a sentence that names it.
    pub fn check(&self, path: &Path) -> Result<(), String> {
        let checked = match url_parts(path) {
            Some((scheme, rest)) => self.check_url(scheme, rest),
            None => self.check_local(path),
        };
        checked.map_err(|why| format!("{}: this pipeline may not open it: {why}", Shown(path)))
    }

    fn check_url(&self, scheme: &[u8], rest: &[u8]) -> Result<(), String> {
        if !self.schemes.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(scheme)) {
            let allowed = match self.schemes.as_slice() {
                [] => "no URLs are allowed".to_string(),
                schemes => format!("of URLs, {} are allowed", schemes.join(", ")),
            };
            return Err(allowed);
        }
        let end = rest.iter().position(|b| b"/?#\\".contains(b)).unwrap_or(rest.len());
        let authority = rest.get(..end).unwrap_or_default();
        let host = authority.rsplit(|b| *b == b'@').next().unwrap_or_default();
        let host = std::str::from_utf8(host).map_err(|_| UNREADABLE.to_string())?;
        check_host(host).map_err(str::to_string)
    }

    fn check_local(&self, path: &Path) -> Result<(), String> {
        let Folders::Only(folders) = &self.folders else { return Ok(()) };
        if path.components().any(|part| part == Component::ParentDir) {
            return Err("there is a '..' in it; name the file from its folder on".to_string());
        }
        let real = real_path(path).map_err(|error| format!("where it leads cannot be told: {error}"))?;
        if folders.iter().any(|folder| real.starts_with(folder)) {
            return Ok(());
        }
        Err("it lies outside the folders that are allowed".to_string())
    }
}

/// The scheme and what stands after `://`, of anything that looks like a URL.
fn url_parts(path: &Path) -> Option<(&[u8], &[u8])> {
    let text = path.as_os_str().as_encoded_bytes();
    let at = text.windows(3).position(|part| part == b"://")?;
    let (scheme, rest) = (text.get(..at)?, text.get(at + 3..)?);
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    is_scheme.then_some((scheme, rest))
}

/// `path` with all links followed, as far as it exists, and the rest as it is.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    let mut known = path;
    while known.symlink_metadata().is_err() {
        match known.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => known = parent,
            None => return Ok(Path::new(".").canonicalize()?.join(path)),
        }
    }
    // A link to what does not exist is an error: whoever creates the file would create it where the link leads.
    let rest = path.strip_prefix(known).map_err(io::Error::other)?;
    Ok(known.canonicalize()?.join(rest))
}

const UNREADABLE: &str = "its host or bucket is to be letters, digits, '.', '-' and '_', or an address";
const METADATA: &str = "its host is link-local, or tells a machine's credentials";

/// Hosts by which clouds tell machines what they are.
const METADATA_HOSTS: [&str; 5] =
    ["metadata.google.internal", "metadata.goog", "metadata", "instance-data", "instance-data.ec2.internal"];

/// Looks at the host of a URL, with its port, or at a bucket.
fn check_host(host: &str) -> Result<(), &'static str> {
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(UNREADABLE)?;
        let address = address.parse().map_err(|_| UNREADABLE)?;
        let is_port = port.is_empty() || port.starts_with(':');
        return if is_port { check_address(IpAddr::V6(address)) } else { Err(UNREADABLE) };
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    // What clients read in other ways than they are written, as percent signs and full-width digits, is no name.
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    if name.is_empty() || !name.bytes().all(is_plain) || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UNREADABLE);
    }
    let name = name.trim_end_matches('.');
    if METADATA_HOSTS.iter().any(|host| host.eq_ignore_ascii_case(name)) {
        return Err(METADATA);
    }
    ipv4(name).map_or(Ok(()), |address| check_address(IpAddr::V4(address)))
}

/// The address that clients take a name for: one to four numbers, decimal, octal or hexadecimal, the last of which fills
/// what is left.
fn ipv4(name: &str) -> Option<Ipv4Addr> {
    let number = |text: &str| {
        let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        match (hexadecimal, text.strip_prefix('0')) {
            (Some(""), _) => Some(0),
            (Some(digits), _) => u32::from_str_radix(digits, 16).ok(),
            (None, Some(digits)) if !digits.is_empty() => u32::from_str_radix(digits, 8).ok(),
            _ => text.parse().ok(),
        }
    };
    let numbers: Vec<u32> = name.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = numbers.split_last().filter(|(_, first)| first.len() < 4)?;
    let (mut bits, mut shift) = (*last, 32);
    for byte in first {
        shift -= 8;
        bits |= u32::from(u8::try_from(*byte).ok()?) << shift;
    }
    // The last stays in what the others leave.
    let is_fit = shift == 32 || last >> shift == 0;
    is_fit.then(|| Ipv4Addr::from(bits))
}

/// Whether an address may be asked.
fn check_address(address: IpAddr) -> Result<(), &'static str> {
    let is_refused = match address {
        IpAddr::V4(address) => is_metadata(address),
        IpAddr::V6(address) => is_metadata_v6(address),
    };
    if is_refused { Err(METADATA) } else { Ok(()) }
}

fn is_metadata(address: Ipv4Addr) -> bool {
    // Of Alibaba, Azure and Oracle; those of the others are link-local.
    const SERVICES: [[u8; 4]; 3] = [[100, 100, 100, 200], [168, 63, 129, 16], [192, 0, 0, 192]];
    address.is_link_local() || SERVICES.contains(&address.octets())
}

fn is_metadata_v6(address: Ipv6Addr) -> bool {
    // Of Amazon and Google.
    const SERVICES: [Ipv6Addr; 2] = [
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    ];
    let [a, b, c, d, e, f, g, h] = address.segments();
    // Addresses of IPv4 in those of IPv6: mapped, compatible, translated (NAT64) and tunnelled (6to4).
    let inner = match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => Some([g, h]),
        [0x2002, high, low, ..] => Some([high, low]),
        _ => None,
    };
    let inner = inner.map(|[high, low]| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    address.is_unicast_link_local() || SERVICES.contains(&address) || inner.is_some_and(is_metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_and_hosts() {
        let all = Access::everything();
        for url in [
            "http://example.com/x",
            "HTTPS://127.0.0.1:8080/x?sig=1",
            "s3://my-bucket_1.x/a b*",
            "http://[2001:db8::1]:80/",
            "http://169.253.1.1/",
            "http://10.0.0.1/@169.254.169.254/",
            "/any/file",
            "../file",
            "./http://x",
        ] {
            assert_eq!(all.check(Path::new(url)), Ok(()), "{url}");
        }
        for url in [
            "http://169.254.169.254/latest/meta-data/",
            "http://169.254.170.2:80/v2",
            "https://user@169.254.169.254/",
            "http://169.254.169.254?x",
            "http://169.254.169.254.",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0xA9.254.43518/",
            "http://0251.0376.0251.0376/",
            "http://169%2e254.169.254/",
            "http://169。254.169.254/",
            "http://127.0.0.1\\@169.254.169.254/%",
            "http://exa\tmple/",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::a9fe:a9fe]:80/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[fd00:ec2::254]/",
            "http://Metadata.Google.internal./computeMetadata/v1/",
            "http://100.100.100.200/",
            "http://",
            "s3://169.254.169.254/x",
            "file:///etc/passwd",
            "ftp://example.com/x",
        ] {
            let refused = all.check(Path::new(url));
            // A backslash ends the host, as in browsers: what stands before it is asked.
            if url.contains('\\') {
                assert_eq!(refused, Ok(()));
                continue;
            }
            let why = refused.expect_err(url);
            assert!(why.contains("may not open it"), "{why}");
        }
        let one = Access::default().with_scheme("HTTPS");
        assert_eq!(one.check(Path::new("https://example.com/x")), Ok(()));
        assert_eq!(
            one.check(Path::new("http://example.com/x")).unwrap_err(),
            "http://example.com/x: this pipeline may not open it: of URLs, https are allowed"
        );
        assert!(one.check(Path::new("x")).is_err() && Access::default().check(Path::new("/")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn folders_and_links() {
        let base = std::env::temp_dir().join(format!("tightfit-access-{}", std::process::id()));
        let (inside, outside) = (base.join("in"), base.join("in-not"));
        std::fs::create_dir_all(inside.join("sub")).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("x"), "x").unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, inside.join(name)).unwrap();
        link(&outside, "out");
        link(&outside.join("x"), "file");
        link(&outside.join("new"), "dangling");
        link(&inside.join("sub"), "back");
        let access = Access::default().with_folder(&inside).unwrap();
        for name in ["", "sub", "sub/new/deep.npy", "back/x", "*/x[0-9]", "./sub", "..x", "http:/x"] {
            assert_eq!(access.check(&inside.join(name)), Ok(()), "{name}");
        }
        for name in [
            "out",
            "out/x",
            "out/new",
            "out/*",
            "file",
            "dangling",
            "dangling/x",
            "sub/../sub",
            "../in-not/x",
        ] {
            assert!(access.check(&inside.join(name)).is_err(), "{name}");
        }
        assert!(access.check(&outside.join("x")).is_err());
        assert!(access.check(Path::new("x")).is_err() && access.check(Path::new("")).is_err());
        assert!(Access::default().with_folder(base.join("none")).is_err());
        std::fs::remove_dir_all(&base).unwrap();
    }
}
