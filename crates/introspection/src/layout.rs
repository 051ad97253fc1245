//! Where the members of the kernel's structures lie: looked up once in its own types.

use crate::btf::{Btf, BtfError};
use crate::slab::SlabLayout;

/// `task_struct` and what hangs on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TaskLayout {
    pub(crate) tasks: u64,
    pub(crate) pid: u64,
    pub(crate) comm: u64,
    pub(crate) comm_bytes: u64,
    pub(crate) mm: u64,
    pub(crate) stack: u64,
    pub(crate) signal: u64,
    pub(crate) thread_node: u64,
    /// The whole.
    pub(crate) bytes: u64,
    /// The whole of a `signal_struct`.
    pub(crate) signal_bytes: u64,
    /// In `signal_struct`.
    pub(crate) thread_head: u64,
}

/// `mm_struct` and `vm_area_struct`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MappingLayout {
    /// The whole of an `mm_struct`.
    pub(crate) mm_bytes: u64,
    pub(crate) pgd: u64,
    pub(crate) root: u64,
    pub(crate) start_brk: u64,
    pub(crate) brk: u64,
    pub(crate) start_stack: u64,
    pub(crate) vdso: u64,
    pub(crate) vm_start: u64,
    pub(crate) vm_end: u64,
    pub(crate) vm_flags: u64,
    pub(crate) vm_mm: u64,
    pub(crate) vm_pgoff: u64,
    pub(crate) vm_file: u64,
}

/// Nodes of a maple tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MapleLayout {
    pub(crate) range: NodeLayout,
    pub(crate) allocation: NodeLayout,
}

/// One kind of node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeLayout {
    pub(crate) pivots: u64,
    pub(crate) pivot_count: u64,
    pub(crate) slots: u64,
    pub(crate) slot_count: u64,
}

/// `file`, `dentry` and `inode`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileLayout {
    /// In `file`.
    pub(crate) dentry: u64,
    pub(crate) d_name: u64,
    pub(crate) d_parent: u64,
    pub(crate) d_alias: u64,
    /// In `address_space`.
    pub(crate) host: u64,
    pub(crate) i_ino: u64,
    pub(crate) i_dentry: u64,
}

/// `mount`, and where a `file` names its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MountLayout {
    /// In `file`: a pointer to the `vfsmount` inside a `mount`.
    pub(crate) of_file: u64,
    /// The `vfsmount` in `mount`.
    pub(crate) public: u64,
    pub(crate) parent: u64,
    pub(crate) mountpoint: u64,
    pub(crate) root: u64,
}

/// `page`, `slab` and `kmem_cache`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageLayout {
    pub(crate) bytes: u64,
    pub(crate) flags: u64,
    pub(crate) refcount: u64,
    pub(crate) page_type: u64,
    pub(crate) mapping: u64,
    pub(crate) index: u64,
    pub(crate) private: u64,
    pub(crate) compound_head: u64,
    /// Two pointers of a list: forwards, backwards.
    pub(crate) list: u64,
    pub(crate) slab_flag: u32,
    pub(crate) reserved_flag: u32,
    /// In `slab`.
    pub(crate) slab_cache: u64,
    /// In `kmem_cache`.
    pub(crate) cache_name: u64,
    pub(crate) cache_size: u64,
}

/// `vmap_area` and `vm_struct`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AreaLayout {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) list: u64,
    pub(crate) vm: u64,
    /// In `vm_struct`.
    pub(crate) caller: u64,
}

/// All layouts. What a kernel does not have is `None`, and what needs it stays unknown.
#[derive(Debug, Clone)]
pub(crate) struct Layouts {
    pub(crate) task: Result<TaskLayout, BtfError>,
    pub(crate) mapping: Result<MappingLayout, BtfError>,
    pub(crate) maple: Result<MapleLayout, BtfError>,
    pub(crate) file: Result<FileLayout, BtfError>,
    pub(crate) mount: Result<MountLayout, BtfError>,
    pub(crate) page: Result<PageLayout, BtfError>,
    pub(crate) area: Result<AreaLayout, BtfError>,
    pub(crate) slab: Result<SlabLayout, BtfError>,
}

impl Layouts {
    pub(crate) fn of(btf: &Btf) -> Self {
        Self {
            task: TaskLayout::of(btf),
            mapping: MappingLayout::of(btf),
            maple: MapleLayout::of(btf),
            file: FileLayout::of(btf),
            mount: MountLayout::of(btf),
            page: PageLayout::of(btf),
            area: AreaLayout::of(btf),
            slab: SlabLayout::of(btf),
        }
    }
}

impl TaskLayout {
    fn of(btf: &Btf) -> Result<Self, BtfError> {
        let of = |member| btf.offset_of("task_struct", member);
        Ok(Self {
            tasks: of("tasks")?,
            pid: of("pid")?,
            comm: of("comm")?,
            comm_bytes: btf.length_of("task_struct", "comm")?,
            mm: of("mm")?,
            stack: of("stack")?,
            signal: of("signal")?,
            thread_node: of("thread_node")?,
            bytes: btf.size_of("task_struct")?,
            signal_bytes: btf.size_of("signal_struct")?,
            thread_head: btf.offset_of("signal_struct", "thread_head")?,
        })
    }
}

impl MappingLayout {
    fn of(btf: &Btf) -> Result<Self, BtfError> {
        let mm = |member| btf.offset_of("mm_struct", member);
        let area = |member| btf.offset_of("vm_area_struct", member);
        Ok(Self {
            mm_bytes: btf.size_of("mm_struct")?,
            pgd: mm("pgd")?,
            root: mm("mm_mt.ma_root")?,
            start_brk: mm("start_brk")?,
            brk: mm("brk")?,
            start_stack: mm("start_stack")?,
            vdso: mm("context.vdso")?,
            vm_start: area("vm_start")?,
            vm_end: area("vm_end")?,
            vm_flags: area("vm_flags")?,
            vm_mm: area("vm_mm")?,
            vm_pgoff: area("vm_pgoff")?,
            vm_file: area("vm_file")?,
        })
    }
}

impl MapleLayout {
    fn of(btf: &Btf) -> Result<Self, BtfError> {
        let node = |name: &str| {
            Ok(NodeLayout {
                pivots: btf.offset_of(name, "pivot")?,
                pivot_count: btf.length_of(name, "pivot")?,
                slots: btf.offset_of(name, "slot")?,
                slot_count: btf.length_of(name, "slot")?,
            })
        };
        Ok(Self {
            range: node("maple_range_64")?,
            allocation: node("maple_arange_64")?,
        })
    }
}

impl FileLayout {
    fn of(btf: &Btf) -> Result<Self, BtfError> {
        Ok(Self {
            dentry: btf.offset_of("file", "f_path.dentry")?,
            d_name: btf.offset_of("dentry", "d_name.name")?,
            d_parent: btf.offset_of("dentry", "d_parent")?,
            d_alias: btf.offset_of("dentry", "d_u.d_alias")?,
            host: btf.offset_of("address_space", "host")?,
            i_ino: btf.offset_of("inode", "i_ino")?,
            i_dentry: btf.offset_of("inode", "i_dentry")?,
        })
    }
}

impl MountLayout {
    fn of(btf: &Btf) -> Result<Self, BtfError> {
        let mount = |member| btf.offset_of("mount", member);
        Ok(Self {
            of_file: btf.offset_of("file", "f_path.mnt")?,
            public: mount("mnt")?,
            parent: mount("mnt_parent")?,
            mountpoint: mount("mnt_mountpoint")?,
            root: mount("mnt.mnt_root")?,
        })
    }
}

impl PageLayout {
    fn of(btf: &Btf) -> Result<Self, BtfError> {
        let page = |member| btf.offset_of("page", member);
        Ok(Self {
            bytes: btf.size_of("page")?,
            flags: page("flags")?,
            refcount: page("_refcount")?,
            page_type: page("page_type")?,
            mapping: page("mapping")?,
            index: page("index")?,
            private: page("private")?,
            compound_head: page("compound_head")?,
            list: page("lru")?,
            slab_flag: btf.value_of("PG_slab")?,
            reserved_flag: btf.value_of("PG_reserved")?,
            slab_cache: btf.offset_of("slab", "slab_cache")?,
            cache_name: btf.offset_of("kmem_cache", "name")?,
            cache_size: btf.offset_of("kmem_cache", "size")?,
        })
    }
}

impl AreaLayout {
    fn of(btf: &Btf) -> Result<Self, BtfError> {
        let area = |member| btf.offset_of("vmap_area", member);
        Ok(Self {
            start: area("va_start")?,
            end: area("va_end")?,
            list: area("list")?,
            vm: area("vm")?,
            caller: btf.offset_of("vm_struct", "caller")?,
        })
    }
}
