//! MD5 for much data: the hash of an object's content (B9.21).
//!
//! When a large object is sent, hashing it is most of the work, and each step of MD5 waits for the one before. Compilers
//! know the table of constants, and move their addition to the end of each step, where everything waits for it; that
//! costs a fifth of the speed. Here they cannot see the table, so it is added while the step before is still under way.
//! For everything else in this crate the `md-5` crate is as good.

use std::hint::black_box;

/// The hash of what has come so far.
#[derive(Clone, Debug)]
pub struct Md5 {
    state: [u32; 4],
    /// How many bytes have come.
    length: u64,
    /// Those of them that make no whole block yet.
    rest: [u8; BLOCK],
}

const BLOCK: usize = 64;

impl Default for Md5 {
    fn default() -> Self {
        Self { state: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476], length: 0, rest: [0; BLOCK] }
    }
}

impl Md5 {
    /// Adds data.
    pub fn update(&mut self, mut data: &[u8]) {
        let filled = self.rest_length();
        self.length = self.length.wrapping_add(data.len() as u64);
        if filled > 0 {
            let (head, tail) = data.split_at(data.len().min(BLOCK - filled));
            self.rest[filled..filled + head.len()].copy_from_slice(head);
            if filled + head.len() < BLOCK {
                return;
            }
            compress(&mut self.state, &[self.rest], black_box(&TABLE));
            data = tail;
        }
        let (blocks, rest) = data.as_chunks();
        compress(&mut self.state, blocks, black_box(&TABLE));
        self.rest[..rest.len()].copy_from_slice(rest);
    }

    /// The hash of all that came.
    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.length.wrapping_mul(8).to_le_bytes();
        let filled = self.rest_length();
        let mut padding = [0; BLOCK + 8];
        padding[0] = 0x80;
        // Up to where the length ends a block.
        let zeros = (BLOCK + BLOCK - 9 - filled) % BLOCK;
        self.update(&padding[..1 + zeros]);
        self.update(&bits);
        let mut digest = [0; 16];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_le_bytes();
        }
        digest
    }

    fn rest_length(&self) -> usize {
        (self.length % BLOCK as u64) as usize
    }
}

/// One step: everything that does not depend on the step before (`b`) comes first.
macro_rules! step {
    ($a:ident, $b:ident, $early:expr, $late:expr, $message:expr, $constant:expr, $shift:literal) => {
        $a = $a.wrapping_add($constant).wrapping_add($message).wrapping_add($early);
        $a = $a.wrapping_add($late).rotate_left($shift).wrapping_add($b);
    };
}

/// Sixteen steps: the words of the message begin with `$first` and go on by `$stride`.
macro_rules! round {
    ($table:ident, $words:ident, [$a:ident, $b:ident, $c:ident, $d:ident], $first:literal + $stride:literal,
     $base:literal, $early:ident, $late:ident, [$s0:literal, $s1:literal, $s2:literal, $s3:literal]) => {
        round!(@four $table, $words, [$a, $b, $c, $d], $first + $stride, $base, 0, $early, $late, [$s0, $s1, $s2, $s3]);
        round!(@four $table, $words, [$a, $b, $c, $d], $first + $stride, $base, 4, $early, $late, [$s0, $s1, $s2, $s3]);
        round!(@four $table, $words, [$a, $b, $c, $d], $first + $stride, $base, 8, $early, $late, [$s0, $s1, $s2, $s3]);
        round!(@four $table, $words, [$a, $b, $c, $d], $first + $stride, $base, 12, $early, $late, [$s0, $s1, $s2, $s3]);
    };
    (@four $table:ident, $words:ident, [$a:ident, $b:ident, $c:ident, $d:ident], $first:literal + $stride:literal,
     $base:literal, $n:literal, $early:ident, $late:ident, [$s0:literal, $s1:literal, $s2:literal, $s3:literal]) => {
        round!(@one $table, $words, [$a, $b, $c, $d], $first + $stride, $base, $n, $early, $late, $s0);
        round!(@one $table, $words, [$d, $a, $b, $c], $first + $stride, $base, ($n + 1), $early, $late, $s1);
        round!(@one $table, $words, [$c, $d, $a, $b], $first + $stride, $base, ($n + 2), $early, $late, $s2);
        round!(@one $table, $words, [$b, $c, $d, $a], $first + $stride, $base, ($n + 3), $early, $late, $s3);
    };
    (@one $table:ident, $words:ident, [$a:ident, $b:ident, $c:ident, $d:ident], $first:literal + $stride:literal,
     $base:literal, $n:expr, $early:ident, $late:ident, $shift:literal) => {
        step!(
            $a,
            $b,
            $early!($c, $d),
            $late!($b, $c, $d),
            $words[($first + $stride * $n) % 16],
            $table[$base + $n],
            $shift
        );
    };
}

macro_rules! nothing {
    ($c:ident, $d:ident) => {
        0
    };
}

macro_rules! not_d_and_c {
    ($c:ident, $d:ident) => {
        $c & !$d
    };
}

macro_rules! f {
    ($b:ident, $c:ident, $d:ident) => {
        $d ^ ($b & ($c ^ $d))
    };
}

macro_rules! g {
    ($b:ident, $c:ident, $d:ident) => {
        $b & $d
    };
}

macro_rules! h {
    ($b:ident, $c:ident, $d:ident) => {
        ($c ^ $d) ^ $b
    };
}

macro_rules! i {
    ($b:ident, $c:ident, $d:ident) => {
        $c ^ ($b | !$d)
    };
}

/// The heart of MD5, as RFC 1321 has it. The second function's two halves have no bits in common, so they may be added,
/// and one of them early.
#[inline(never)]
fn compress(state: &mut [u32; 4], blocks: &[[u8; BLOCK]], table: &[u32; 64]) {
    let [mut a, mut b, mut c, mut d] = *state;
    for block in blocks {
        let mut words = [0_u32; 16];
        for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let before = [a, b, c, d];
        round!(table, words, [a, b, c, d], 0 + 1, 0, nothing, f, [7, 12, 17, 22]);
        round!(table, words, [a, b, c, d], 1 + 5, 16, not_d_and_c, g, [5, 9, 14, 20]);
        round!(table, words, [a, b, c, d], 5 + 3, 32, nothing, h, [4, 11, 16, 23]);
        round!(table, words, [a, b, c, d], 0 + 7, 48, nothing, i, [6, 10, 15, 21]);
        a = a.wrapping_add(before[0]);
        b = b.wrapping_add(before[1]);
        c = c.wrapping_add(before[2]);
        d = d.wrapping_add(before[3]);
    }
    *state = [a, b, c, d];
}

/// The whole parts of 2^32 times the sines of 1 to 64.
static TABLE: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

#[cfg(test)]
mod tests {
    use md5::Digest as _;
    use proptest::prelude::*;

    use super::*;

    fn hash(parts: &[&[u8]]) -> [u8; 16] {
        let mut md5 = Md5::default();
        parts.iter().for_each(|part| md5.update(part));
        md5.finish()
    }

    #[test]
    fn every_length_around_a_block_is_hashed_right() {
        let data: Vec<u8> = (0..1000_u32).map(|at| ((at * 7919) >> 3) as u8).collect();
        for length in (0..260).chain([999, 1000]) {
            let expected: [u8; 16] = md5::Md5::digest(&data[..length]).into();
            assert_eq!(hash(&[&data[..length]]), expected, "{length} bytes");
        }
    }

    #[test]
    fn the_table_is_that_of_the_sines() {
        let sine = |at: u32| (f64::from(at + 1).sin().abs() * 4_294_967_296.0) as u32;
        assert!((0..64).map(sine).eq(TABLE));
    }

    proptest! {
        #[test]
        fn how_the_data_come_makes_no_difference(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..9)) {
            let expected: [u8; 16] = md5::Md5::digest(parts.concat()).into();
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(hash(&parts), expected);
        }
    }
}
