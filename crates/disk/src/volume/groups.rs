//! Volumes of LVM2, put together of the physical volumes that were found.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::lvm::{LogicalVolume, PhysicalVolume, VolumeGroup};
use crate::read_at::Source;
use crate::volume::probe::{Found, probe};
use crate::volume::{Place, Volume, VolumeError, VolumeKind, Volumes};

/// A physical volume, and where it lies.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) volume: PhysicalVolume,
    pub(super) source: Source,
    pub(super) place: Place,
}

/// Adds the volumes of all groups. Of a group's several metadata the newest count.
pub(super) fn take(members: Vec<Member>, found: &mut Volumes) {
    let mut groups: BTreeMap<String, &VolumeGroup> = BTreeMap::new();
    for group in members.iter().filter_map(|one| one.volume.group.as_ref()) {
        let newest = groups.entry(group.name.clone()).or_insert(group);
        if group.sequence > newest.sequence {
            *newest = group;
        }
    }
    let mut disks = BTreeMap::new();
    let mut places = BTreeMap::new();
    for member in &members {
        let id = &member.volume.id;
        disks.insert(id.clone(), Arc::clone(&member.source));
        places.insert(id.clone(), member.place);
    }
    for group in groups.values() {
        for volume in &group.volumes {
            found.volumes.push(open(group, volume, &disks, &places));
        }
    }
}

fn open(
    group: &VolumeGroup,
    volume: &LogicalVolume,
    disks: &BTreeMap<String, Source>,
    places: &BTreeMap<String, Place>,
) -> Volume {
    let name = format!("{}/{}", group.name, volume.name);
    let source = match volume.open(disks) {
        Ok(opened) => Ok(Arc::new(opened) as Source),
        Err(source) => Err(VolumeError::Lvm {
            name: name.clone(),
            source,
        }),
    };
    let probed = match &source {
        Ok(source) => probe(&name, &**source),
        Err(_) => Found::default(),
    };
    let parts = volume.parts.as_deref().unwrap_or_default().iter();
    let places = parts.filter_map(|part| {
        let disk = places.get(&part.disk)?;
        Some(Place {
            disk: disk.disk,
            start: disk.start.saturating_add(part.place),
            bytes: part.bytes,
        })
    });
    Volume {
        // LVM2 on a volume of LVM2 is not put together.
        kind: match probed.kind {
            VolumeKind::PhysicalVolume => VolumeKind::Unknown,
            kind => kind,
        },
        label: probed.label,
        id: probed.id,
        // A volume that lacks a part has no places: they would be the wrong ones.
        places: match source.is_ok() {
            true => places.collect(),
            false => Vec::new(),
        },
        source,
        damage: probed.damage,
        name,
    }
}
