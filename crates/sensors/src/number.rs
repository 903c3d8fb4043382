//! Numbers as the kernel writes them.

/// A number of ASCII digits alone.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// `   123 kB` in bytes.
pub(crate) fn kibibytes(text: &[u8]) -> Option<u64> {
    decimal(text.trim_ascii().strip_suffix(b" kB")?)?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_alone_and_fits() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "-1", "+1", "1 ", "18446744073709551616"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(kibibytes(b"  7 kB"), Some(7168));
        assert_eq!(kibibytes(b"18446744073709551615 kB"), None);
    }
}
