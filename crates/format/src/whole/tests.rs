use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("tightfit-whole-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn appears_whole_or_not_at_all() {
    let folder = Folder::new("atomic");
    let path = folder.0.join("a.csv");
    let mut file = WholeFile::create(&path).unwrap();
    file.write_all(b"1").unwrap();
    assert!(!path.exists());
    let names = folder.names();
    assert!(names.len() == 1 && names[0].starts_with(".a.csv.tmp-"), "{names:?}");
    drop(file);
    assert!(folder.names().is_empty());
    write(&path, b"2").unwrap();
    assert_eq!((folder.names(), fs::read(&path).unwrap()), (vec!["a.csv".to_string()], b"2".to_vec()));
    // Two writers at a time do not meet.
    let (mut one, mut two) = (WholeFile::create(&path).unwrap(), WholeFile::create(&path).unwrap());
    one.write_all(b"one").unwrap();
    two.write_all(b"two").unwrap();
    one.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one");
    two.commit().unwrap();
    assert_eq!((folder.names(), fs::read(&path).unwrap()), (vec!["a.csv".to_string()], b"two".to_vec()));
}

#[test]
fn names_are_not_foreseen_and_links_not_followed() {
    let folder = Folder::new("links");
    let victim = folder.0.join("victim");
    fs::write(&victim, b"precious").unwrap();
    let names: Vec<_> = (0..100).map(|_| temporary_name(Path::new("a")).unwrap()).collect();
    assert!(names.iter().enumerate().all(|(i, name)| !names[..i].contains(name)));
    // What is there is not opened, whatever it is.
    let planted = folder.0.join("planted");
    for target in ["victim", "nothing"] {
        symlink(folder.0.join(target), &planted).unwrap();
        assert_eq!(make_file(&planted, false).unwrap_err().kind(), ErrorKind::AlreadyExists);
        fs::remove_file(&planted).unwrap();
    }
    assert_eq!(make_file(&victim, false).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(
        (fs::read(&victim).unwrap(), folder.0.join("nothing").exists()),
        (b"precious".to_vec(), false)
    );
    // Nor is it removed as a leftover through a link.
    symlink(&victim, folder.0.join(".a.tmp-0123456789abcdef")).unwrap();
    remove_leftovers(&folder.0, &|name| name == "a");
    assert!(victim.exists());
}

#[test]
fn modes_are_kept() {
    let folder = Folder::new("modes");
    let path = folder.0.join("a");
    write(&path, b"new").unwrap();
    let plain = folder.0.join("plain");
    fs::write(&plain, b"").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&path), mode(&plain), "the umask's");
    for wanted in [0o600, 0o640, 0o755, 0o666, 0o444] {
        fs::set_permissions(&path, fs::Permissions::from_mode(wanted)).unwrap();
        let file = WholeFile::create(&path).unwrap();
        assert_eq!(file.file.metadata().unwrap().mode() & 0o7777, wanted, "before there is anything in it");
        file.commit().unwrap();
        assert_eq!(mode(&path), wanted);
    }
}

#[test]
fn what_a_link_points_to_is_replaced() {
    let folder = Folder::new("target");
    fs::create_dir(folder.0.join("inner")).unwrap();
    let (real, link) = (folder.0.join("inner/real"), folder.0.join("link"));
    fs::write(&real, b"old").unwrap();
    symlink("inner/real", &link).unwrap();
    write(&link, b"new").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&real).unwrap(), b"new");
    fs::remove_file(&real).unwrap();
    assert!(write(&link, b"x").unwrap_err().to_string().contains("link to a file that is not there"));
    assert_eq!(write(&folder.0.join("inner"), b"x").unwrap_err().kind(), ErrorKind::IsADirectory);
    assert_eq!(folder.names(), ["inner", "link"]);
}

#[test]
fn only_what_nobody_writes_is_removed() {
    let folder = Folder::new("leftovers");
    let place = folder.0.join("a");
    fs::create_dir_all(folder.0.join(".a.tmp-00000000000000ff/inner")).unwrap();
    let held = WholeFile::create_one(&place).unwrap();
    let second = WholeFile::create_one(&place).unwrap();
    let kept =
        [".a.tmp-", ".a.tmp-00000000000000fg", ".b.tmp-0000000000000001", "a", "a.tmp-0000000000000001"];
    for name in [".a.tmp-0000000000000001", ".tightfit-x"].iter().chain(&kept) {
        fs::write(folder.0.join(name), name).unwrap();
    }
    remove_leftovers(&folder.0, &|name| name == "a");
    let name = |file: &WholeFile| {
        file.temporary.as_ref().unwrap().file_name().unwrap().to_str().unwrap().to_string()
    };
    let (one, two) = (name(&held), name(&second));
    let mut expected: Vec<&str> = kept.into_iter().chain([&*one, &*two, ".tightfit-x"]).collect();
    expected.sort_unstable();
    assert_eq!(folder.names(), expected);
    // As a killed process leaves them: unlocked, not removed.
    let unlock = |mut file: WholeFile| file.temporary.take().unwrap();
    let left = [unlock(held), unlock(second)];
    drop(WholeFile::create(&place).unwrap());
    assert!(left.iter().all(|path| !path.exists()));
}

#[test]
fn long_names_have_room() {
    let folder = Folder::new("long");
    let path = folder.0.join("x".repeat(255));
    write(&path, b"1").unwrap();
    let left = WholeFile::create(&path).unwrap();
    let name = left.temporary.as_ref().unwrap().file_name().unwrap();
    assert_eq!(place_of(name), Some(&*short_name(path.file_name().unwrap())));
    drop(left);
    assert_eq!(folder.names(), ["x".repeat(255)]);
}

#[test]
fn a_set_is_not_mixed_when_naming_it_breaks_off() {
    let folder = Folder::new("set");
    let places: Vec<_> = ["0", "1", "2"].iter().map(|name| folder.0.join(name)).collect();
    let outputs = || -> Vec<WholeFile> {
        let write = |path: &PathBuf| {
            let mut output = WholeFile::create_one(path).unwrap();
            output.write_all(b"new").unwrap();
            output
        };
        places.iter().map(write).collect()
    };
    places.iter().for_each(|path| fs::write(path, "old").unwrap());
    let broken = outputs();
    fs::remove_file(&places[1]).unwrap();
    fs::create_dir(&places[1]).unwrap();
    WholeFile::commit_all(broken).unwrap_err();
    assert_eq!(fs::read(&places[0]).unwrap(), b"new");
    assert_eq!(folder.names(), ["0", "1"]);
    fs::remove_dir(&places[1]).unwrap();
    WholeFile::commit_all(outputs()).unwrap();
    assert!(places.iter().all(|path| fs::read(path).unwrap() == b"new"));
    assert_eq!(folder.names().len(), 3);
}

#[test]
fn folders_appear_whole() {
    let folder = Folder::new("folder");
    let place = folder.0.join("out");
    let whole = WholeFolder::create(&place).unwrap();
    fs::write(whole.path().join("a"), b"1").unwrap();
    assert!(!place.exists());
    drop(whole);
    assert!(folder.names().is_empty());
    let whole = WholeFolder::create(&place).unwrap();
    fs::write(whole.path().join("a"), b"1").unwrap();
    whole.commit().unwrap();
    assert_eq!(folder.names(), ["out"]);
    assert_eq!(WholeFolder::create(&place).unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
#[cfg(target_os = "linux")]
fn devices_are_written_as_they_are() {
    let mut full = WholeFile::create(Path::new("/dev/full")).unwrap();
    assert!(!full.is_renamed());
    assert_eq!(full.write(b"1").unwrap_err().kind(), ErrorKind::StorageFull);
    let folder = Folder::new("device");
    let link = folder.0.join("full.csv");
    symlink("/dev/full", &link).unwrap();
    assert_eq!(write(&link, b"1").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(folder.names(), ["full.csv"]);
}
