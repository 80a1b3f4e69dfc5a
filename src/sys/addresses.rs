//! Addresses: of this machine's interfaces, and what stands in a text.

use std::ffi::CString;
use std::net::IpAddr;
use std::{io, mem, ptr};

/// The addresses of all interfaces, loopback included, in the order of the system (B4.1).
///
/// # Errors
/// That of getifaddrs(3).
pub fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut first = ptr::null_mut();
    // SAFETY: the pointer that getifaddrs sets is ours, and is looked at only if the call succeeded.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = first;
    // SAFETY: the list is valid until it is freed below, and ends with a null pointer.
    while let Some(interface) = unsafe { next.as_ref() } {
        // SAFETY: an interface's address is null or of the size that its family has.
        addresses.extend(unsafe { ip_address(interface.ifa_addr) });
        next = interface.ifa_next;
    }
    // SAFETY: it was made by getifaddrs, and nothing of it is kept.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

/// The address that a text is, in any of the forms that the resolver takes for one, such as `127.1`; `None` for names.
pub fn numeric_address(text: &str) -> Option<IpAddr> {
    let text = CString::new(text).ok()?;
    // SAFETY: all zero is the valid empty value of this plain structure.
    let mut hints: libc::addrinfo = unsafe { mem::zeroed() };
    hints.ai_flags = libc::AI_NUMERICHOST;
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut found = ptr::null_mut();
    // SAFETY: the texts end with a NUL, the hints are valid, and the pointer is looked at only on success.
    if unsafe { libc::getaddrinfo(text.as_ptr(), ptr::null(), &hints, &mut found) } != 0 {
        return None;
    }
    // SAFETY: on success there is at least one result, with an address of the size that its family has; it was made by
    // getaddrinfo, and nothing of it is kept.
    unsafe {
        let address = ip_address((*found).ai_addr);
        libc::freeaddrinfo(found);
        address
    }
}

/// The IP address in a socket address, if it has one.
///
/// # Safety
/// The pointer is null or points to a socket address of the size that its family has.
unsafe fn ip_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: by this function's contract; the larger structures are read only for the family that has them.
    unsafe {
        match i32::from(address.as_ref()?.sa_family) {
            libc::AF_INET => {
                let address = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(IpAddr::from(address.sin_addr.s_addr.to_ne_bytes()))
            }
            libc::AF_INET6 => {
                let address = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(IpAddr::from(address.sin6_addr.s6_addr))
            }
            _ => None,
        }
    }
}
