//! Finds where a refused item of a batch ends, so that its neighbours are still taken.

/// The position after the value that starts at `start`, by quotes and brackets alone; `None` if it never ends.
/// Bare words (NaN, numbers out of range) end before the next `,`, bracket or white space.
pub(crate) fn skip_broken(text: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = skip_string(text, at + 1)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' | b',' if depth == 0 => return (at > start).then_some(at),
            b'}' | b']' => {
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

fn skip_string(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let found = memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        at += found;
        if text.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}
