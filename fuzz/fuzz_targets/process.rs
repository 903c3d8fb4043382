//! The files of one process. Each reader is given each text, since a text is
//! one of them by its name alone.

#![no_main]

use fuzz::{Text, check_printable};
use libfuzzer_sys::fuzz_target;
use sensors::fuzzing;

thread_local! {
    static TEXT: Text = Text::empty();
}

fuzz_target!(|bytes: &[u8]| {
    // As much as the readers of one line take.
    let short = &bytes[..bytes.len().min(1024)];
    stat(short);
    statm(short);
    score(short);
    status(bytes);
    environment(bytes);
    for line in bytes.split(|&byte| byte == b'\n') {
        unit(line);
    }
    TEXT.with(|text| {
        lines(text, bytes);
        smaps(text, bytes);
        smaps_rollup(text, bytes);
    });
});

fn stat(text: &[u8]) {
    let Some(stat) = fuzzing::stat(text) else {
        return;
    };
    let (name, [parent, group, session], [faults, threads, start]) = stat;
    check_printable(name);
    let open = text.iter().position(|&byte| byte == b'(').expect("a name");
    let close = text.iter().rposition(|&byte| byte == b')').expect("a name");
    assert!(text[open + 1..close].starts_with(name.as_bytes()));
    // Cut short, it is the same process or none.
    for end in close + 1..text.len() {
        let cut = fuzzing::stat(&text[..end]);
        assert!(cut.is_none_or(|cut| cut == stat), "cut at {end}");
    }
    let mut printed = b"1 (".to_vec();
    printed.extend_from_slice(name.as_bytes());
    printed.extend_from_slice(
        format!(
            ") S {parent} {group} {session} 0 -1 0 0 0 {faults} 0 0 0 0 0 20 0 {threads} 0 {start} 0\n"
        )
        .as_bytes(),
    );
    assert_eq!(fuzzing::stat(&printed), Some(stat));
}

fn environment(text: &[u8]) {
    let has = |name: &[u8]| text.windows(name.len()).any(|there| there == name);
    for watches in [true, false] {
        let forbids = fuzzing::environment(text, watches);
        assert!(!forbids || has(b"MEMORY_PRESSURE_WATCH=") || has(b"WATCHDOG_USEC="));
    }
    // What watches forbids no less.
    assert!(fuzzing::environment(text, true) || !fuzzing::environment(text, false));
}

fn statm(text: &[u8]) {
    let Some(statm) = fuzzing::statm(text) else {
        return;
    };
    let (resident_pages, shared_pages) = statm;
    assert!(shared_pages <= resident_pages);
    let printed = format!("{resident_pages} {resident_pages} {shared_pages} 1 0 1 0\n");
    assert_eq!(fuzzing::statm(printed.as_bytes()), Some(statm));
}

fn score(text: &[u8]) {
    if let Some(score) = fuzzing::score(text) {
        assert_eq!(fuzzing::score(score.to_string().as_bytes()), Some(score));
    }
}

fn status(text: &[u8]) {
    let status = match fuzzing::status(text) {
        Ok(status) => status,
        Err(expected) => return check_printable(expected),
    };
    let ([process, user], [swap_bytes, shmem_bytes]) = status;
    for bytes in [swap_bytes, shmem_bytes] {
        assert!(bytes <= 1 << 56 && bytes % 1024 == 0);
    }
    let mut printed = format!(
        "VmSwap:\t{} kB\nRssShmem:\t{} kB\n",
        swap_bytes / 1024,
        shmem_bytes / 1024
    );
    if let Some(process) = process {
        printed += &format!("Tgid:\t{process}\n");
    }
    if let Some(user) = user {
        printed += &format!("Uid:\t{user}\t0\t0\t0\n");
    }
    assert_eq!(fuzzing::status(printed.as_bytes()), Ok(status));
}

fn unit(line: &[u8]) {
    let Some((session, login)) = fuzzing::unit(line) else {
        return;
    };
    // No number of a session that the kernel gives is as high.
    assert!(session.0 > u64::from(u32::MAX));
    let mut colons = line.iter().enumerate().filter(|(_, byte)| **byte == b':');
    let (second, _) = colons.nth(1).expect("a path");
    let path = &line[second + 1..];
    let by_path = fuzzing::unit(&[b"0::", path].concat());
    assert_eq!(by_path, Some((session, login)));
    // So does a container.
    let mut names = path.split(|&byte| byte == b'/');
    assert!(login || names.all(|name| name != b"user.slice"));
}

/// Whatever the buffer's size, lines are whole, or their beginnings that fit.
fn lines(text: &Text, bytes: &[u8]) {
    let Some((capacity, bytes)) = bytes.split_first() else {
        return;
    };
    let capacity = usize::from(*capacity) + 1;
    let got = fuzzing::lines(text.set(bytes), capacity).expect("ours");
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let want = (1..).zip(whole.split(|&byte| byte == b'\n'));
    let want: Vec<_> = want
        .map(|(line, text)| (line, text[..text.len().min(capacity)].to_vec()))
        .collect();
    if bytes.is_empty() {
        assert!(got.is_empty());
    } else {
        assert_eq!(got, want, "by {capacity}");
    }
}

fn smaps(text: &Text, bytes: &[u8]) {
    let more =
        |mapping: &[u8]| fuzzing::nameless_bytes(text.set(&[bytes, b"\n", mapping].concat()));
    let Some(held_bytes) = fuzzing::nameless_bytes(text.set(bytes)) else {
        return;
    };
    // Memory that has a name counts not, memory that has none does.
    let named = more(b"7f00-7f10 rw-s 00000000 00:18 7 /dev/shm/t\nRss: 4 kB\nPss: 4 kB\n");
    assert_eq!(named, Some(held_bytes));
    let nameless =
        more(b"7f00-7f10 rw-s 00000000 00:18 7 /dev/shm/t (deleted)\nRss: 4 kB\nPss: 4 kB\n");
    // What is pushed out for it had less.
    let nameless = nameless.expect("no line of it is longer");
    assert!(nameless <= held_bytes.saturating_add(4096));
    assert!(held_bytes < nameless || held_bytes > u64::MAX - 4096);
}

fn smaps_rollup(text: &Text, bytes: &[u8]) {
    let rollup = text.set(bytes);
    for counted_bytes in [0, 1, 4096, 1 << 30, 1 << 56] {
        let own = fuzzing::own_bytes(rollup, counted_bytes, counted_bytes);
        if let Some((anon_bytes, swap_bytes)) = own {
            assert!(anon_bytes <= counted_bytes && swap_bytes <= counted_bytes);
        }
    }
}
