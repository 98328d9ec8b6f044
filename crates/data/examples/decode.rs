//! Decodes images for a script that compares them with another decoder's, `tests/golden/compare_images.py`.
//!
//! Standard input is a row of requests: channels (one byte), element type (one byte: 0 uint8, 1 uint16, 2 float32),
//! whether all frames are wanted (one byte), how many bytes the file has (four bytes, the lowest first) and the file.
//! Each is answered on standard output: 1, frames, height, width and channels (four bytes each) and the elements in this
//! machine's order; or 0, the bytes of the error's text (four bytes) and the text.

use std::error::Error;
use std::io::{Cursor, Read, Write};

use tightfit_core::DType;
use tightfit_data::image::{DecodeOptions, ImageHeader};

/// What a damaged header may ask for and get.
const MAX_BYTES: usize = 1 << 30;

fn decoded(options: &DecodeOptions, file: &[u8]) -> Result<([usize; 4], Vec<u8>), String> {
    let header = ImageHeader::read(&mut Cursor::new(file), file.len() as u64).map_err(|e| e.to_string())?;
    let made = options.output(file, &header).map_err(|e| e.to_string())?;
    let bytes = made.bytes().map_err(|e| e.to_string())?;
    if bytes.max(made.scratch_bytes) > MAX_BYTES {
        return Err(format!("an image of {bytes} bytes"));
    }
    let mut out = vec![0; bytes];
    let mut scratch = vec![0; made.scratch_bytes];
    let made = options.decode(file, &header, &mut out, &mut scratch).map_err(|e| e.to_string())?;
    let [height, width, channels] = made.image.shape;
    Ok(([made.frames, height, width, channels], out))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut head = [0; 7];
    while input.read_exact(&mut head).is_ok() {
        let [channels, dtype, frames, size @ ..] = head;
        let dtype = [DType::U8, DType::U16, DType::F32][usize::from(dtype)];
        let options = DecodeOptions { channels: channels.into(), dtype, expand_animations: frames == 1 };
        let mut file = vec![0; u32::from_le_bytes(size) as usize];
        input.read_exact(&mut file)?;
        match decoded(&options, &file) {
            Ok((shape, out)) => {
                output.write_all(&[1])?;
                for side in shape {
                    output.write_all(&(side as u32).to_le_bytes())?;
                }
                output.write_all(&out)?;
            }
            Err(why) => {
                output.write_all(&[0])?;
                output.write_all(&(why.len() as u32).to_le_bytes())?;
                output.write_all(why.as_bytes())?;
            }
        }
        output.flush()?;
    }
    Ok(())
}
