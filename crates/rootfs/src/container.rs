//! The image of a container: which layers it has, in which order.
//!
//! ```text
//! OCI layout      index.json ─► [index ─►] manifest ─► layers        blobs/sha256/HEX
//! `docker save`   manifest.json ─► layers                            paths in the archive
//! ```
//!
//! Sources: OCI Image Layout and Image Manifest Specifications; Docker Image Specification v1.2,
//! "Combined Image JSON + Filesystem Changeset Format".

use crate::archive::{self, LAYOUT, SAVED};
use crate::error::{RootfsError, printable};
use crate::layer::Layer;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The largest document that is read, in bytes.
const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// The most layers: container runtimes take 127.
const MAX_LAYERS: usize = 1024;

/// How deep indexes name each other.
const MAX_DEPTH: usize = 4;

/// What machines are.
const SYSTEM: (&str, &str) = ("linux", "amd64");

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    layers: Vec<Descriptor>,
}

/// An index or a manifest: only one of both lists is there.
#[derive(Debug, Deserialize)]
struct Either {
    manifests: Option<Vec<Descriptor>>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Descriptor {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Whether a directory holds the image of a container.
pub(crate) fn is_layout(directory: &Path) -> bool {
    directory.join(LAYOUT).is_file() && directory.join("index.json").is_file()
}

/// Unpacks the layers of an image, one over the other.
pub(crate) fn unpack(image: &Path, tree: &Path) -> Result<(), RootfsError> {
    let layers = if is_layout(image) {
        of_layout(image)?
    } else {
        of_saved(image)?
    };
    if layers.is_empty() || layers.len() > MAX_LAYERS {
        let why = format!("it has {} layers", layers.len());
        return Err(RootfsError::container(image, why));
    }
    for layer in layers {
        Layer::new(&layer, tree, true)?.apply(archive::open(&layer)?)?;
    }
    Ok(())
}

/// The layers of the one image in an OCI layout that is for machines like ours.
fn of_layout(image: &Path) -> Result<Vec<PathBuf>, RootfsError> {
    let path = inside(image, Path::new("index.json"))?;
    let index: Index = document(&path)?;
    let mut manifests = index.manifests;
    for _ in 0..MAX_DEPTH {
        let chosen = choose(&path, &manifests)?;
        let path = blob(image, &chosen.digest)?;
        let found: Either = document(&path)?;
        match (found.layers, found.manifests) {
            (Some(layers), _) => {
                let layers = Manifest { layers }.layers;
                return layers.iter().map(|one| blob(image, &one.digest)).collect();
            }
            (None, Some(inner)) => manifests = inner,
            (None, None) => {
                return Err(RootfsError::container(&path, "it names no layers"));
            }
        }
    }
    Err(RootfsError::container(&path, "its indexes name each other"))
}

fn choose<'d>(path: &Path, manifests: &'d [Descriptor]) -> Result<&'d Descriptor, RootfsError> {
    let (os, architecture) = SYSTEM;
    let fits = |one: &&Descriptor| {
        let platform = one.platform.as_ref();
        platform.is_none_or(|one| one.os == os && one.architecture == architecture)
    };
    let mut fitting = manifests.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(RootfsError::container(
            path,
            format!("nothing in it is for {os}/{architecture}"),
        )),
        (Some(_), Some(_)) => Err(RootfsError::container(
            path,
            "several images are in it: save one alone",
        )),
    }
}

/// The layers of the one image in what `docker save` writes.
fn of_saved(image: &Path) -> Result<Vec<PathBuf>, RootfsError> {
    let path = inside(image, Path::new(SAVED))?;
    let saved: Vec<Saved> = document(&path)?;
    let [one] = saved.as_slice() else {
        let names: Vec<String> = saved
            .iter()
            .flat_map(|one| one.repo_tags.iter().flatten())
            .map(|name| printable(Path::new(name)))
            .collect();
        let why = format!(
            "several images are in it ({}): save one alone",
            names.join(", ")
        );
        return Err(RootfsError::container(&path, why));
    };
    let layer = |name: &String| {
        let is_plain = |part| matches!(part, Component::Normal(_));
        let place = Path::new(name);
        if !place.components().all(is_plain) {
            let why = format!("it names a layer outside of it: {}", printable(place));
            return Err(RootfsError::container(&path, why));
        }
        inside(image, place)
    };
    one.layers.iter().map(layer).collect()
}

/// A blob of an OCI layout, which is what its digest says.
fn blob(image: &Path, digest: &str) -> Result<PathBuf, RootfsError> {
    let shown = printable(Path::new(digest));
    let hex = digest.strip_prefix("sha256:").filter(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    let hex = hex.ok_or_else(|| {
        RootfsError::container(image, format!("{shown} is no digest that is known here"))
    })?;
    let path = inside(image, &Path::new("blobs/sha256").join(hex))?;
    let failed = |error| RootfsError::io("read", &path)(error);
    let mut file = File::open(&path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut piece).map_err(failed)?;
        if read == 0 {
            break;
        }
        hasher.update(piece.get(..read).unwrap_or_default());
    }
    let found: String = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found != hex {
        return Err(RootfsError::container(
            &path,
            "it is not what its digest says",
        ));
    }
    Ok(path)
}

/// A file of an image. Older archives name a layer twice by a link, and a link may lead anywhere.
fn inside(image: &Path, name: &Path) -> Result<PathBuf, RootfsError> {
    let path = image.join(name);
    let root = fs::canonicalize(image).map_err(RootfsError::io("read", image))?;
    let found = fs::canonicalize(&path).map_err(RootfsError::io("read", &path))?;
    if found.starts_with(&root) && found.is_file() {
        Ok(found)
    } else {
        Err(RootfsError::container(&path, "it leads out of the image"))
    }
}

fn document<T: DeserializeOwned>(path: &Path) -> Result<T, RootfsError> {
    let failed = |error| RootfsError::io("read", path)(error);
    let file = File::open(path).map_err(failed)?;
    let mut text = Vec::new();
    file.take(MAX_DOCUMENT_BYTES)
        .read_to_end(&mut text)
        .map_err(failed)?;
    serde_json::from_slice(&text).map_err(|error| RootfsError::container(path, format!("{error}")))
}

#[cfg(test)]
mod tests;
