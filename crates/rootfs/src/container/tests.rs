use super::*;
use crate::image_of;
use std::io::Write;

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getegid().as_raw()));
        archive.append_data(&mut header, name, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Two layers: the second takes a file of the first away.
fn layers() -> [Vec<u8>; 2] {
    [
        gzip(&tar_of(&[("etc/first", b"1"), ("etc/gone", b"2")])),
        tar_of(&[("etc/second", b"3"), ("etc/.wh.gone", b"")]),
    ]
}

/// An OCI layout as the files that it has.
fn layout(platform: &str, damage: bool) -> Vec<(String, Vec<u8>)> {
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", digest(bytes));
    let layers = layers();
    let listed: Vec<String> = layers
        .iter()
        .map(|layer| format!(r#"{{"digest":"sha256:{}"}}"#, digest(layer)))
        .collect();
    let manifest = format!(r#"{{"layers":[{}]}}"#, listed.join(","));
    let index = format!(
        r#"{{"manifests":[{{"digest":"sha256:{}","platform":{{"os":"linux","architecture":"{platform}"}}}}]}}"#,
        digest(manifest.as_bytes())
    );
    let mut files = vec![
        (
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ),
        ("index.json".to_owned(), index.into_bytes()),
        (blob(manifest.as_bytes()), manifest.into_bytes()),
    ];
    files.extend(layers.into_iter().map(|layer| (blob(&layer), layer)));
    if damage {
        files.last_mut().unwrap().1[700] ^= 1;
    }
    files
}

fn archive_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_slice()))
        .collect();
    tar_of(&files)
}

/// What stands under `/etc` of the image that is made of an archive.
fn listed(name: &str, archive: &[u8]) -> Result<Vec<String>, RootfsError> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join(name);
    fs::write(&path, archive).unwrap();
    let image = image_of(&path, scratch.path())?;
    let listed = std::process::Command::new("debugfs")
        .args(["-R", "ls -p /etc"])
        .arg(image.path())
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names = listed.lines().filter_map(|line| line.split('/').nth(5));
    let mut names: Vec<String> = names
        .filter(|name| !matches!(*name, "" | "." | ".."))
        .map(str::to_owned)
        .collect();
    names.sort();
    Ok(names)
}

#[test]
fn layers_lie_over_each_other() {
    let wanted = ["first", "second"];
    let oci = archive_of(&layout("amd64", false));
    assert_eq!(listed("oci.tar", &oci).unwrap(), wanted);
    assert_eq!(listed("oci.tar.gz", &gzip(&oci)).unwrap(), wanted);

    let [first, second] = layers();
    let saved = br#"[{"RepoTags":["a:1"],"Layers":["x/layer.tar","y/layer.tar"]}]"#;
    let docker = tar_of(&[
        ("x/layer.tar", &first),
        ("y/layer.tar", &second),
        ("manifest.json", saved),
    ]);
    assert_eq!(listed("saved.tar", &docker).unwrap(), wanted);
}

#[test]
fn plain_archives_are_root_file_systems() {
    let plain = tar_of(&[("./etc/a", b"1"), ("etc/b", b"2")]);
    assert_eq!(listed("a.tar", &plain).unwrap(), ["a", "b"]);
    let packed = zstd::bulk::compress(&plain, 1).unwrap();
    assert_eq!(listed("a.tar.zst", &packed).unwrap(), ["a", "b"]);
}

#[test]
fn images_that_are_none_are_told() {
    let told = |archive: &[u8]| listed("x.tar", archive).unwrap_err().to_string();
    assert!(told(&archive_of(&layout("s390x", false))).contains("linux/amd64"));
    assert!(told(&archive_of(&layout("amd64", true))).contains("digest"));
    assert!(told(b"not an archive").contains("tar archive"));
    assert!(told(&[]).contains("tar archive"));
    let several = br#"[{"RepoTags":["a:1"],"Layers":[]},{"RepoTags":["b:1"],"Layers":[]}]"#;
    assert!(told(&tar_of(&[("manifest.json", several)])).contains("a:1, b:1"));
    let outside = br#"[{"Layers":["../../etc/passwd"]}]"#;
    assert!(told(&tar_of(&[("manifest.json", outside)])).contains("outside"));
    let none = br#"[{"Layers":[]}]"#;
    assert!(told(&tar_of(&[("manifest.json", none)])).contains("0 layers"));
}
