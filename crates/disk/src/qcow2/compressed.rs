//! Clusters that are compressed: at most one cluster comes out, whatever goes in.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::qcow2::error::Qcow2Error;
use crate::qcow2::header::Compression;

/// The greatest window of a zstd frame, as a power of two: 16 MiB. A cluster has 2 MiB at most, so
/// that no writer gains from more; the decoder takes this much memory.
const MAX_WINDOW_LOG: u32 = 24;

/// Decompresses the cluster that `input` starts with. What follows it, up to the sector's end, is
/// not looked at.
pub(super) fn decompressed(
    input: &[u8],
    cluster_bytes: usize,
    compression: Compression,
    host_offset: u64,
) -> Result<Vec<u8>, Qcow2Error> {
    let mut output = vec![0; cluster_bytes];
    let outcome = match compression {
        Compression::Deflate => inflate(input, &mut output, 0),
        Compression::Zstd => decode(input, &mut output, Frames::All),
    };
    let failed = |reason| Qcow2Error::Compressed {
        host_offset,
        reason,
    };
    let written = outcome.map_err(failed)?;
    if written < cluster_bytes {
        return Err(failed(format!(
            "{written} bytes come out of it, not the {cluster_bytes} of a cluster"
        )));
    }
    Ok(output)
}

/// Says how much comes out of a stream of deflate; `flags` may say that it has a header.
pub(crate) fn inflate(input: &[u8], output: &mut [u8], flags: u32) -> Result<usize, String> {
    let mut state = Box::<DecompressorOxide>::default();
    let flags = flags | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, _, written) = decompress(&mut state, input, output, 0, flags);
    // A full cluster is a whole one: whether the stream would go on is of no interest.
    if written < output.len() && status != TINFLStatus::Done {
        return Err(format!("deflate: {status:?}"));
    }
    Ok(written)
}

/// Which frames of zstd are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frames {
    /// The first; what follows it may be anything.
    First,
    /// One after the other, until enough has come out.
    All,
}

/// Says how much comes out of frames of zstd.
pub(crate) fn decode(input: &[u8], output: &mut [u8], frames: Frames) -> Result<usize, String> {
    let failed = |error: std::io::Error| format!("zstd: {error}");
    let mut decoder = Decoder::new().map_err(failed)?;
    decoder
        .set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))
        .map_err(failed)?;
    let whole = output.len();
    let mut input = InBuffer::around(input);
    let mut output = OutBuffer::around(output);
    while output.pos() < whole {
        let before = (input.pos(), output.pos());
        let left = decoder.run(&mut input, &mut output).map_err(failed)?;
        let is_whole = left == 0 && frames == Frames::First;
        if is_whole || before == (input.pos(), output.pos()) {
            break;
        }
    }
    Ok(output.pos())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: usize = 4096;

    fn cluster() -> Vec<u8> {
        (0..CLUSTER).map(|index| (index / 7) as u8).collect()
    }

    fn check(input: &[u8], compression: Compression) {
        let padded = [input, &[0xff; 300]].concat();
        let output = decompressed(&padded, CLUSTER, compression, 0).unwrap();
        assert_eq!(output, cluster());
        let cut = decompressed(&input[..input.len() / 2], CLUSTER, compression, 7);
        assert!(matches!(
            cut,
            Err(Qcow2Error::Compressed { host_offset: 7, .. })
        ));
        let large = decompressed(input, CLUSTER * 2, compression, 0).unwrap_err();
        assert!(large.to_string().contains("4096"), "{large}");
        let small = decompressed(input, CLUSTER / 2, compression, 0).unwrap();
        assert_eq!(small, cluster()[..CLUSTER / 2]);
    }

    #[test]
    fn one_cluster_comes_out_and_no_more() {
        let deflated = miniz_oxide::deflate::compress_to_vec(&cluster(), 6);
        check(&deflated, Compression::Deflate);
    }

    #[test]
    fn a_frame_of_zstd_may_be_followed_by_anything() {
        let frame = zstd::bulk::compress(&cluster(), 3).unwrap();
        check(&frame, Compression::Zstd);
    }

    #[test]
    fn the_first_frame_may_be_short() {
        let frame = zstd::bulk::compress(&cluster()[..4000], 3).unwrap();
        for behind in [&[0; 500][..], &[0xff; 500], &frame] {
            let input = [&frame, behind].concat();
            let mut output = vec![0; CLUSTER];
            assert_eq!(decode(&input, &mut output, Frames::First), Ok(4000));
            assert_eq!(output[..4000], cluster()[..4000]);
            assert_eq!(output[4000..], [0; 96]);
        }
        let twice = [&frame[..], &frame].concat();
        let mut output = vec![0; 8000];
        assert_eq!(decode(&twice, &mut output, Frames::All), Ok(8000));
        assert_eq!(output[4000..], cluster()[..4000]);
    }

    #[test]
    fn a_bomb_is_cut_at_the_cluster() {
        let zeros = vec![0; 64 << 20];
        let frame = zstd::bulk::compress(&zeros, 3).unwrap();
        let output = decompressed(&frame, CLUSTER, Compression::Zstd, 0).unwrap();
        assert_eq!(output, [0; CLUSTER]);
    }
}
