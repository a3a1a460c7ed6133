//! What each fuzz target is made of: the shared functions of `targets/`, and an allocator that ends the process when one run holds
//! more memory than any of these inputs may cost.
//!
//! libFuzzer's own limit on single allocations needs a sanitizer, and so a nightly compiler; this one needs neither.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

#[path = "../targets/mod.rs"]
pub mod targets;

/// Bytes that Rust code may hold at a time; inputs are at most 64 KiB.
const LIMIT: isize = 96 << 20;

struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = layout.size().cast_signed();
        if HELD.fetch_add(size, Relaxed) + size > LIMIT {
            HELD.store(0, Relaxed);
            panic!("more than {LIMIT} bytes are held: the last allocation is of {} bytes", layout.size());
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size().cast_signed(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A fuzz target of libFuzzer by the name that it has in `targets/`. It refers to no other: whatever is linked is looked through after
/// every run.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $crate::targets::$name::run(data);
        });
    };
}
