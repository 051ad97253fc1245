//! What the objects of the kernel's caches are: the structure that a cache is made for.
//!
//! A cache that is made by `KMEM_CACHE` has the name of its structure. Others have names of their own,
//! which are listed here as the kernel's sources give them (`kmem_cache_create`). A name is believed
//! only where the kernel describes such a structure, and where it fits into the cache's objects.

use crate::btf::{Btf, TypeId};

/// Caches whose name is not that of their structure.
const NAMED: [(&str, &str); 62] = [
    ("Acpi-Namespace", "acpi_namespace_node"),
    ("Acpi-Operand", "acpi_operand_object"),
    ("MPTCP", "mptcp_sock"),
    ("MPTCPv6", "mptcp6_sock"),
    ("PING", "inet_sock"),
    ("PINGv6", "raw6_sock"),
    ("RAW", "raw_sock"),
    ("RAWv6", "raw6_sock"),
    ("TCP", "tcp_sock"),
    ("TCPv6", "tcp6_sock"),
    ("UDP", "udp_sock"),
    ("UDPv6", "udp6_sock"),
    ("UNIX", "unix_sock"),
    ("UNIX-STREAM", "unix_sock"),
    ("bdev_cache", "bdev_inode"),
    ("blkdev_ioc", "io_context"),
    ("cred_jar", "cred"),
    ("dax_cache", "dax_device"),
    ("dnotify_mark", "dnotify_mark"),
    ("ep_head", "epitems_head"),
    ("eventpoll_epi", "epitem"),
    ("eventpoll_pwq", "eppoll_entry"),
    ("ext4_extent_status", "extent_status"),
    ("ext4_inode_cache", "ext4_inode_info"),
    ("ext4_pending_reservation", "pending_reservation"),
    ("fasync_cache", "fasync_struct"),
    ("file_lock_cache", "file_lock"),
    ("file_lock_ctx", "file_lock_context"),
    ("files_cache", "files_struct"),
    ("filp", "file"),
    ("fs_cache", "fs_struct"),
    ("hugetlbfs_inode_cache", "hugetlbfs_inode_info"),
    ("iint_cache", "integrity_iint_cache"),
    ("inode_cache", "inode"),
    ("ip4-frags", "ipq"),
    ("ip_fib_alias", "fib_alias"),
    ("ip_fib_trie", "key_vector"),
    ("jbd2_journal_head", "journal_head"),
    ("kernfs_iattrs_cache", "kernfs_iattrs"),
    ("kernfs_node_cache", "kernfs_node"),
    ("key_jar", "key"),
    ("mbcache", "mb_cache_entry"),
    ("mnt_cache", "mount"),
    ("mqueue_inode_cache", "mqueue_inode_info"),
    ("net_namespace", "net"),
    ("numa_policy", "mempolicy"),
    ("posix_timers_cache", "k_itimer"),
    ("proc_inode_cache", "proc_inode"),
    ("radix_tree_node", "xa_node"),
    ("request_queue_srcu", "request_queue"),
    ("shared_policy_node", "sp_node"),
    ("shmem_inode_cache", "shmem_inode_info"),
    ("sighand_cache", "sighand_struct"),
    ("signal_cache", "signal_struct"),
    ("skbuff_ext_cache", "skb_ext"),
    ("skbuff_fclone_cache", "sk_buff_fclones"),
    ("skbuff_head_cache", "sk_buff"),
    ("sock_inode_cache", "socket_alloc"),
    ("tcp_bind_bucket", "inet_bind_bucket"),
    ("uid_cache", "user_struct"),
    ("userfaultfd_ctx_cache", "userfaultfd_ctx"),
    ("xfrm_dst_cache", "xfrm_dst"),
];

/// Caches of memory of any kind, by size.
const ANY_KIND: [&str; 4] = ["kmalloc-", "dma-kmalloc-", "names_cache", "biovec-"];

/// The structure that a cache of this name and size is made for.
///
/// A `task_struct` has at its end what the processor saves, of which a kernel hands out as much as
/// its processor has: of that one, objects may be smaller.
pub(crate) fn type_of_cache(btf: &Btf, cache: &str, object_bytes: u64) -> Option<TypeId> {
    if ANY_KIND.iter().any(|one| cache.starts_with(one)) {
        return None;
    }
    let named = NAMED.iter().find(|(name, _)| *name == cache);
    let structure = named.map_or(cache, |(_, structure)| structure);
    let id = btf.structure_named(structure)?;
    let fits = btf.size(id)? <= object_bytes;
    // `kmem_cache` ends with a list of nodes, of which there are as many as the machine has.
    (fits || matches!(structure, "task_struct" | "kmem_cache")).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order() {
        assert!(NAMED.is_sorted());
    }
}
