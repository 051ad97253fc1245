"""What a debugger with the kernel's symbols says of bytes of captured memory.

    oracle.py MEMORY VMLINUX < requests > answers

MEMORY is a guest's memory, whole; VMLINUX is its kernel with DWARF. A request is a line of JSON:
{"physical": N, "type": NAME or null, "paths": [PATH, ...], "offset": N}. Its answer is a line too: what
drgn identifies there, and whether one of the paths of that type, by DWARF, has the byte at that
offset. Nothing of what the request claims is used to find the answer.
"""

import json
import os
import re
import struct
import sys
import tempfile

from drgn import BadDataError, FaultError, Object, Program, TypeKind, offsetof, sizeof
from drgn.helpers.common.memory import identify_address_all
from drgn.helpers.linux.common import (
    IdentifiedPage,
    IdentifiedSlabObject,
    IdentifiedTaskStack,
    IdentifiedTaskStruct,
    IdentifiedVmap,
)
from drgn.helpers.linux.cpumask import for_each_online_cpu
from drgn.helpers.linux.fs import for_each_file, for_each_mount, inode_path
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mm import (
    PageReserved,
    PageSlab,
    compound_head,
    follow_phys,
    for_each_vma,
    pfn_to_page,
)
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.slab import for_each_slab_cache, get_slab_cache_aliases

PAGE = 4096


def core_file(memory, place):
    """Writes memory as a core, as a crashed kernel leaves it: its notes are in its memory."""
    start = re.search(rb"OSRELEASE=\d", memory).start()
    notes = memory[start : memory.find(b"\0", start)]
    name = b"VMCOREINFO\0"
    pad = lambda piece: piece + b"\0" * (-len(piece) % 4)
    note = struct.pack("<III", len(name), len(notes), 0) + pad(name) + pad(notes)
    head = b"\x7fELF" + bytes([2, 1, 1, 0]) + b"\0" * 8
    head += struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    at = 64 + 2 * 56
    load = (at + len(note) + PAGE - 1) // PAGE * PAGE
    head += struct.pack("<IIQQQQQQ", 4, 0, at, 0, 0, len(note), len(note), 4)
    head += struct.pack("<IIQQQQQQ", 1, 7, load, 0, 0, len(memory), len(memory), PAGE)
    with open(place, "wb") as core:
        core.write(head + note)
        core.seek(load)
        core.write(memory)


def tag(type_):
    """The name of a structure, without qualifiers; nothing for any other type."""
    while type_.kind == TypeKind.TYPEDEF:
        type_ = type_.type
    return type_.tag if type_.kind in (TypeKind.STRUCT, TypeKind.UNION) else None


class Oracle:
    def __init__(self, prog):
        self.prog = prog
        self.cache = {}
        self.aliases = {}
        for alias, name in get_slab_cache_aliases(prog).items():
            self.aliases.setdefault(name, []).append(alias)
        symbol = lambda name: prog.symbol(name).address
        self.image = (symbol("_text"), symbol("_end"))
        self.image_base = self.image[0] - follow_phys(
            prog["init_mm"].address_of_(), self.image[0]
        ).value_()
        self.direct = prog["page_offset_base"].value_()
        self.other = self.mapped()
        self.cpus = self.cpu_areas()
        self.types = self.known_types()

    def mapped(self):
        """Addresses besides the direct map, by frame."""
        prog, found = self.prog, {}
        mm = prog["init_mm"].address_of_()
        areas = list(
            list_for_each_entry(
                "struct vmap_area", prog["vmap_area_list"].address_of_(), "list"
            )
        )
        ranges = [(area.va_start.value_(), area.va_end.value_()) for area in areas]
        records = prog["vmemmap_base"].value_()
        ranges.append((records, records + 64 * (self.memory_pages + 1)))
        for start, end in ranges:
            for address in range(start, min(end, start + (64 << 20)), PAGE):
                try:
                    frame = follow_phys(mm, address).value_() // PAGE
                except (FaultError, LookupError):
                    continue
                found.setdefault(frame, address)
        return found

    def cpu_areas(self):
        prog = self.prog
        unit = prog["pcpu_unit_size"].value_()
        bases = [
            (cpu, prog["__per_cpu_offset"][cpu].value_())
            for cpu in for_each_online_cpu(prog)
        ]
        mm = prog["init_mm"].address_of_()
        areas = {}
        for cpu, base in bases:
            for into in range(0, unit, PAGE):
                frame = follow_phys(mm, base + into).value_() // PAGE
                areas[frame] = (cpu, into)
        end = prog.symbol("__per_cpu_end").address
        self.cpu_symbols = [s for s in prog.symbols() if s.address < end and s.size]
        return areas

    def known_types(self):
        """Objects whose type follows from lists and members that drgn's helpers know."""
        prog, found = self.prog, {}

        def add(pointer):
            if pointer and pointer.type_.kind == TypeKind.POINTER:
                found.setdefault(pointer.value_(), tag(pointer.type_.type))

        for task in for_each_task(prog):
            add(task)
            for name in ("mm", "signal", "sighand", "files", "fs", "nsproxy"):
                add(task.member_(name))
            add(task.cred)
            add(task.thread_pid)
            if task.mm:
                for vma in for_each_vma(task.mm):
                    add(vma)
                    if vma.anon_vma:
                        add(vma.anon_vma)
                for _, file in for_each_file(task):
                    add(file)
        for mount in for_each_mount(prog):
            add(mount)
        for block in list_for_each_entry(
            "struct super_block", prog["super_blocks"].address_of_(), "s_list"
        ):
            add(block)
        for cache in for_each_slab_cache(prog):
            add(cache)
            add(cache.node[0])
        for queue in list_for_each_entry(
            "struct workqueue_struct", prog["workqueues"].address_of_(), "list"
        ):
            add(queue)
            for pool in list_for_each_entry(
                "struct pool_workqueue", queue.pwqs.address_of_(), "pwqs_node"
            ):
                add(pool)
        for net in list_for_each_entry(
            "struct net", prog["net_namespace_list"].address_of_(), "list"
        ):
            for device in list_for_each_entry(
                "struct net_device", net.dev_base_head.address_of_(), "dev_list"
            ):
                add(device)
        for event in list_for_each_entry(
            "struct trace_event_call", prog["ftrace_events"].address_of_(), "list"
        ):
            add(event)
        return found

    def symbol(self, address, offset_of=0):
        names = [s for s in self.prog.symbols(address) if s.size]
        if not names:
            return None
        first = names[0]
        same = [s.name for s in names if s.address == first.address]
        return {"names": same, "offset": address - first.address}

    def variable_type(self, names):
        for name in names:
            try:
                return tag(self.prog.variable(name).type_)
            except (LookupError, BadDataError):
                # Unknown to it, or written in a form of DWARF that it does not read.
                continue
        return None

    def identify(self, physical):
        frame, into = divmod(physical, PAGE)
        page = pfn_to_page(self.prog, frame)
        address = physical + self.image_base
        reserved = PageReserved(page)
        if self.image[0] <= address < self.image[1] and reserved:
            found = self.symbol(address)
            if found:
                found.update(kind="symbol", type=self.variable_type(found["names"]))
            return found or {"kind": "between"}
        if frame in self.cpus and reserved:
            return self.cpu_variable(*self.cpus[frame], into)
        for address in (self.direct + physical, self.other.get(frame, -into) + into):
            for one in identify_address_all(self.prog, address, cache=self.cache):
                found = self.described(one, address)
                if found:
                    return found
        return self.file(page, into)

    def cpu_variable(self, cpu, start, into):
        offset = start + into
        names = [
            s for s in self.cpu_symbols if s.address <= offset < s.address + s.size
        ]
        if not names:
            return None
        same = [s.name for s in names if s.address == names[0].address]
        return {
            "kind": "cpu-variable",
            "cpu": cpu,
            "names": same,
            "offset": offset - names[0].address,
            "type": self.variable_type(same),
        }

    def described(self, one, address):
        if isinstance(one, IdentifiedTaskStruct):
            return None  # It is an object too, which says more.
        if isinstance(one, IdentifiedSlabObject):
            info = one.slab_object_info
            name = info.slab_cache.name.string_().decode()
            return {
                "kind": "slab",
                "caches": [name, *self.aliases.get(name, [])],
                "object": info.address,
                "offset": address - info.address,
                "allocated": info.allocated,
                "type": self.types.get(info.address),
            }
        if isinstance(one, IdentifiedTaskStack):
            return {"kind": "stack", "pid": one.task.pid.value_()}
        if isinstance(one, IdentifiedVmap):
            start = one.vmap_area.va_start.value_()
            try:
                caller = self.prog.symbol(one.vm_struct.caller.value_()).name
            except LookupError:
                caller = None
            return {"kind": "area", "offset": address - start, "caller": caller}
        if isinstance(one, IdentifiedPage):
            start = one.page.value_()
            slab = PageSlab(one.page)
            return {"kind": "page", "pfn": one.pfn, "offset": address - start, "slab": slab}
        return None

    def file(self, page, into):
        if PageSlab(page) or PageReserved(page) or not page._refcount.counter.value_():
            return None
        head = compound_head(page)
        mapping = head.mapping.value_()
        if not mapping or mapping & 3:
            return None
        space = Object(self.prog, "struct address_space *", mapping)
        path = inode_path(space.host) if space.host else None
        if path is None:
            return None
        number = head.index.value_() + (page.value_() - head.value_()) // sizeof(page[0])
        return {"kind": "file", "path": "/" + path.decode().lstrip("/"), "offset": number * PAGE + into}

    def has_field(self, request):
        """Whether the paths have the byte, by DWARF; nothing where there is no such type."""
        if not request["type"] or not request["paths"]:
            return None
        if not re.fullmatch(r"\w+", request["type"]):
            return None
        try:
            type_ = self.prog.type("struct " + request["type"])
        except LookupError:
            return None
        offset = request["offset"]
        for path in request["paths"]:
            try:
                start = offsetof(type_, path)
                member = type_
                member = Object(self.prog, type_, address=0).subobject_(path)
                bits = member.bit_offset_ or 0
                size = (bits + (member.bit_field_size_ or 8 * sizeof(member)) + 7) // 8
            except ValueError as error:
                # A field of bits has no offset that drgn would give: its neighbours bound it.
                if "bit" in str(error):
                    return None
                return False
            except (LookupError, SyntaxError, TypeError):
                return False
            if not start <= offset < start + size:
                return False
        return True


def main():
    memory_path, vmlinux = sys.argv[1:]
    with open(memory_path, "rb") as file:
        memory = file.read()
    with tempfile.TemporaryDirectory(dir=os.path.dirname(memory_path)) as place:
        core = os.path.join(place, "core")
        core_file(memory, core)
        prog = Program()
        prog.set_core_dump(core)
        prog.load_debug_info([vmlinux])
        Oracle.memory_pages = len(memory) // PAGE
        oracle = Oracle(prog)
        for line in sys.stdin:
            request = json.loads(line)
            answer = oracle.identify(request["physical"]) or {"kind": "nothing"}
            answer["field"] = oracle.has_field(request)
            print(json.dumps(answer))


main()
