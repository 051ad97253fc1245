//! Changes that the package database of an image explains: packages are made, installed and upgraded
//! by dpkg in a directory, which becomes an image before and after; what somebody did besides is
//! planted. The truth is what the test itself did.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::World;

fn run(program: &str, arguments: &[&str]) {
    let ended = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{program} {arguments:?}: {said}");
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A directory that dpkg takes for a root, and what lies beside it.
struct Root {
    directory: PathBuf,
    /// When the next image is made.
    time: Cell<u64>,
}

impl Root {
    fn new(world: &World) -> Self {
        let root = Self {
            directory: world.path("packages"),
            time: Cell::new(1_760_000_000),
        };
        // As the releases of today have it: the directories of before are links.
        fs::create_dir_all(root.at("usr/bin")).unwrap();
        fs::create_dir_all(root.at("usr/lib")).unwrap();
        symlink("usr/bin", root.at("bin")).unwrap();
        symlink("usr/lib", root.at("lib")).unwrap();
        for directory in ["info", "updates", "triggers", "parts"] {
            fs::create_dir_all(root.at("var/lib/dpkg").join(directory)).unwrap();
        }
        write(&root.at("var/lib/dpkg/status"), "");
        write(&root.at("var/lib/dpkg/info/format"), "1\n");
        root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.join("root").join(path)
    }

    /// Makes a package of some files, whose digests it has, and installs it.
    fn install(&self, name: &str, version: &str, files: &[(&str, &str)]) {
        let build = self.directory.join(format!("{name}-{version}"));
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: a <a@b.c>\n\
             Description: a test\n"
        );
        write(&build.join("DEBIAN/control"), &control);
        let mut sums = String::new();
        for (path, content) in files {
            write(&build.join(path), content);
            let file = build.join(path);
            let summed = Command::new("md5sum").arg(&file).output().unwrap().stdout;
            let digits = String::from_utf8(summed).unwrap()[..32].to_owned();
            sums.push_str(&format!("{digits}  {path}\n"));
        }
        let settings = files.iter().filter(|(path, _)| path.starts_with("etc/"));
        let settings: String = settings.map(|(path, _)| format!("/{path}\n")).collect();
        write(&build.join("DEBIAN/conffiles"), &settings);
        write(&build.join("DEBIAN/md5sums"), &sums);
        let deb = self.directory.join(format!("{name}.deb"));
        let (build, deb) = (build.to_str().unwrap(), deb.to_str().unwrap());
        run("dpkg-deb", &["--root-owner-group", "-b", build, deb]);
        self.dpkg(&["-i", deb]);
    }

    fn dpkg(&self, arguments: &[&str]) {
        let root = format!("--root={}", self.at("").display());
        let log = format!("--log={}", self.at("var/log/dpkg.log").display());
        fs::create_dir_all(self.at("var/log")).unwrap();
        let mut all = vec![
            root.as_str(),
            log.as_str(),
            "--force-not-root",
            "--force-script-chrootless",
        ];
        all.extend_from_slice(&["--force-confold", "--force-depends", "--force-bad-path"]);
        all.extend_from_slice(arguments);
        run("dpkg", &all);
    }

    fn image(&self) -> String {
        let image = self.directory.join("disk.raw").to_str().unwrap().to_owned();
        fs::remove_file(&image).ok();
        let root = self.at("").to_str().unwrap().to_owned();
        // Each time all files are born anew, so that none is taken for another that has its number.
        self.time.set(self.time.get() + 60);
        let made = Command::new("mke2fs")
            .env("E2FSPROGS_FAKE_TIME", self.time.get().to_string())
            .args(["-q", "-t", "ext4", "-d", &root, &image, "32M"])
            .output();
        assert!(made.unwrap().status.success());
        image
    }
}

#[test]
fn upgrades_are_explained_and_nothing_else() {
    let world = World::cold();
    let root = Root::new(&world);
    let tool = |text: &'static str| {
        [
            ("usr/bin/tool", text),
            ("bin/old-path", text),
            ("usr/share/tool/gone", "only of the first\n"),
            ("etc/tool.conf", "as shipped\n"),
            ("etc/tool.d/edited", text),
        ]
    };
    root.install("tool", "1.0-1", &tool("first\n"));
    root.install(
        "other",
        "3",
        &[("usr/bin/other", "other\n"), ("usr/lib/other.so", "so\n")],
    );
    root.install("removed", "2", &[("usr/share/removed/file", "bytes\n")]);
    write(&root.at("etc/tool.d/edited"), "by a person\n");
    write(&root.at("srv/own"), "own\n");
    let image = root.image();
    world.run(&format!("image add {image} --name p")).expect(0);

    let files = tool("second\n");
    root.install(
        "tool",
        "1.1-1",
        &[
            files[0],
            files[1],
            files[3],
            files[4],
            ("usr/bin/new", "n\n"),
        ],
    );
    root.dpkg(&["-P", "removed"]);
    // What nobody's package did.
    write(&root.at("usr/bin/other"), "trojan\n");
    fs::remove_file(root.at("usr/lib/other.so")).unwrap();
    write(&root.at("usr/bin/planted"), "planted\n");
    write(&root.at("srv/own"), "changed\n");
    write(&root.at("etc/tool.conf"), "edited\n");
    write(&root.at("var/lib/dpkg/info/other.postinst"), "#!/bin/sh\n");
    write(
        &root.at("var/lib/dpkg/info/none.list"),
        "/usr/bin/planted\n",
    );
    write(&root.at("usr/lib/__pycache__/x.cpython-311.pyc"), "");
    fs::set_permissions(root.at("bin/old-path"), fs::Permissions::from_mode(0o4755)).unwrap();
    root.image();
    world.run("image capture p").expect(0);

    let data = world.data("image diff p");
    let mut told = BTreeMap::new();
    for event in data["events"].as_array().unwrap() {
        let of = |key: &str| event["explanation"][key].as_str().unwrap_or("-").to_owned();
        let path = event["path"].as_str().unwrap().to_owned();
        let words = [of("standing"), of("package"), of("before"), of("after")].join(" ");
        told.insert(path, words);
    }
    let expected = [
        ("/usr/bin/tool", "verified tool 1.0-1 1.1-1"),
        ("/usr/bin/old-path", "verified tool 1.0-1 1.1-1"),
        ("/usr/bin/new", "verified tool 1.0-1 1.1-1"),
        ("/usr/share/tool/gone", "listed tool 1.0-1 1.1-1"),
        ("/usr/share/removed/file", "listed removed 2 -"),
        (
            "/var/lib/dpkg/info/tool.list",
            "maintained tool 1.0-1 1.1-1",
        ),
        ("/var/lib/dpkg/status", "maintained dpkg - -"),
        ("/etc/tool.d/edited.dpkg-dist", "maintained dpkg - -"),
        ("/etc/tool.conf", "configured tool 1.0-1 1.1-1"),
        ("/usr/bin/other", "contradicted other 3 3"),
        ("/usr/lib/other.so", "contradicted other 3 3"),
        ("/usr/bin/planted", "- - - -"),
        ("/srv/own", "- - - -"),
        ("/var/lib/dpkg/info/other.postinst", "- - - -"),
        ("/var/lib/dpkg/info/none.list", "- - - -"),
        ("/usr/lib/__pycache__/x.cpython-311.pyc", "- - - -"),
    ];
    for (path, words) in expected {
        assert_eq!(
            told.get(path).map(String::as_str),
            Some(words),
            "{path}: {told:#?}"
        );
    }
    // The same is kept, and told of what changed since then; and people see it.
    let since = world.data("image diff p --since 2000-01-01T00Z --path /usr/bin/tool");
    let kept: &Value = &since["changes"][0]["explanation"];
    assert_eq!(
        (&kept["standing"], &kept["after"]),
        (&"verified".into(), &"1.1-1".into())
    );
    let shown = world.run("image diff p --path /usr/bin").expect(0).stdout;
    assert!(
        shown.contains("tool 1.0-1 -> 1.1-1") && shown.contains("NOT as other 3 has it"),
        "{shown}"
    );

    // A digest that was forged without another version is seen as such.
    let digest = Command::new("md5sum")
        .arg(root.at("usr/bin/other"))
        .output()
        .unwrap()
        .stdout;
    let digits = String::from_utf8(digest).unwrap()[..32].to_owned();
    write(&root.at("usr/bin/other"), "trojan two\n");
    let second = Command::new("md5sum")
        .arg(root.at("usr/bin/other"))
        .output()
        .unwrap()
        .stdout;
    let forged = String::from_utf8(second).unwrap()[..32].to_owned();
    assert_ne!(digits, forged);
    write(
        &root.at("var/lib/dpkg/info/other.md5sums"),
        &format!("{forged}  usr/bin/other\n"),
    );
    root.image();
    world.run("image capture p").expect(0);
    let data = world.data("image diff p --path /usr/bin/other");
    assert_eq!(
        data["events"][0]["explanation"]["standing"], "contradicted",
        "{data}"
    );
    world.assert_clean();
}

/// A package of rpm's, made by `rpmbuild` and put into the database of a root, with its one file.
fn install_rpm(root: &Root, version: &str, content: &str) {
    let top = root.directory.join("build");
    write(&top.join("file"), content);
    write(&root.at("usr/bin/tool"), content);
    fs::set_permissions(root.at("usr/bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    let from = top.join("file").display().to_string();
    let spec = format!(
        "Name: tool\nVersion: {version}\nRelease: 1\nSummary: s\nLicense: MIT\nBuildArch: noarch\n\
         %description\nd\n%install\ninstall -D -m 755 {from} %{{buildroot}}/usr/bin/tool\n\
         %files\n%attr(755,root,root) /usr/bin/tool\n"
    );
    write(&top.join("tool.spec"), &spec);
    let define = format!("_topdir {}", top.display());
    let spec = top.join("tool.spec").display().to_string();
    let defines = [
        "--define",
        &define,
        "--define",
        "_binary_filedigest_algorithm 8",
    ];
    run(
        "rpmbuild",
        &[&["-bb", "--quiet"], &defines[..], &[&spec]].concat(),
    );
    let made = top.join(format!("RPMS/noarch/tool-{version}-1.noarch.rpm"));
    let database = root.at("var/lib/rpm").display().to_string();
    let into = [
        "--define",
        "_db_backend sqlite",
        "--dbpath",
        &database,
        "-U",
        "--justdb",
    ];
    let how = ["--nodeps", "--noscripts", "--ignoreos", "--nosignature"];
    run(
        "rpm",
        &[&into[..], &how, &[made.to_str().unwrap()]].concat(),
    );
}

/// The database of rpm's that Fedora and RHEL have: an upgrade is explained, what somebody planted is
/// not; and a database that is damaged is named, in place of explaining nothing in silence.
#[test]
fn an_upgrade_by_rpm_is_explained_and_a_damaged_database_is_named() {
    let world = World::cold();
    let root = Root::new(&world);
    fs::remove_dir_all(root.at("var/lib/dpkg")).unwrap();
    fs::create_dir_all(root.at("var/lib/rpm")).unwrap();
    install_rpm(&root, "1.0", "first\n");
    let image = root.image();
    world.run(&format!("image add {image} --name r")).expect(0);
    install_rpm(&root, "1.1", "second\n");
    write(&root.at("usr/bin/planted"), "planted\n");
    root.image();
    world.run("image capture r").expect(0);
    let standing = |data: &Value, path: &str| {
        let events = data["events"].as_array().unwrap();
        let event = events.iter().find(|event| event["path"] == path);
        event.unwrap()["explanation"]["standing"]
            .as_str()
            .map(str::to_owned)
    };
    let data = world.data("image diff r");
    assert_eq!(
        standing(&data, "/usr/bin/tool").as_deref(),
        Some("verified"),
        "{data}"
    );
    assert_eq!(standing(&data, "/usr/bin/planted"), None, "{data}");
    let shown = world
        .run("image diff r --path /usr/bin/tool")
        .expect(0)
        .stdout;
    assert!(shown.contains("tool 1.0-1 -> 1.1-1"), "{shown}");

    // The header of the first page, and all pages behind it.
    let database = root.at("var/lib/rpm/rpmdb.sqlite");
    let mut bytes = fs::read(&database).unwrap();
    bytes.iter_mut().skip(100).for_each(|byte| *byte = 0xee);
    fs::write(&database, bytes).unwrap();
    write(&root.at("usr/bin/tool"), "third\n");
    root.image();
    world.run("image capture r").expect(0);
    let data = world.data("image diff r");
    assert_eq!(standing(&data, "/usr/bin/tool"), None, "{data}");
    let said = world.run("image diff r").expect(0).stderr;
    assert!(said.contains("rpmdb.sqlite explains nothing"), "{said}");
    world.assert_clean();
}
