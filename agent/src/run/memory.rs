//! How the C library's allocator holds memory. Others than glibc's need no such settings.

/// Arenas of the allocator. It would make one for each thread, and most threads here do little: the
/// pipeline and the compliance thread are the two that allocate all the time.
#[cfg(target_env = "gnu")]
const ARENAS: i32 = 2;

/// Bytes from which an allocation gets pages of its own, which go back to the kernel as soon as it
/// is freed. glibc's own initial value; unless it is set, freeing a large one raises it.
#[cfg(target_env = "gnu")]
const OWN_PAGES: i32 = 128 << 10;

/// Sets both. Call it before there are threads.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a call of the C library")]
pub fn limit_arenas() {
    // SAFETY: mallopt takes two numbers and changes the allocator's own settings.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES);
    }
}

/// Returns to the kernel what was freed and stayed with the allocator, such as what a start leaves.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a call of the C library")]
pub fn return_free_pages() {
    // SAFETY: malloc_trim touches memory only that nobody holds.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Nothing to set.
#[cfg(not(target_env = "gnu"))]
pub const fn limit_arenas() {}

/// Nothing to return.
#[cfg(not(target_env = "gnu"))]
pub const fn return_free_pages() {}
