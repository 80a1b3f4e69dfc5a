//! The one place for `unsafe` code and raw libc calls: what std and rustix do not offer. Each use says why it is sound.
