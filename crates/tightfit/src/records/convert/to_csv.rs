//! Examples to CSV. A feature of up to one value is a column, one that always has n values is n columns `name[0]` to
//! `name[n-1]`; others have no place in a table. A missing value is an empty cell.

use std::io::Write;

use tightfit_format::example::{Feature, FeatureKind};

use super::{Job, PICKED_BYTES, RecordPlace, picked};
use crate::error::Error;
use crate::records::schema::FeatureSummary;
use crate::sink::file::{BUFFER_BYTES, Output};
use tightfit_data::csv::put_field;

/// The most columns of one feature.
const MAX_COLUMNS: u64 = 1 << 14;

/// Converts all records of `job`.
pub fn convert(job: &Job<'_>) -> Result<u64, Error> {
    let (features, _held) = job.schema()?;
    for feature in &features {
        check(feature)?;
    }
    if features.is_empty() {
        return Err(Error::Usage("the records have no features".to_string()));
    }
    let picked_bytes = PICKED_BYTES.saturating_mul(features.len() as u64);
    let _buffers = job.budget.try_reserve("output", picked_bytes + BUFFER_BYTES as u64)?;
    let mut output = Output::create(job.output)?;
    let at = |error| Error::io(job.output, error);
    let mut reservation = job.budget.try_reserve("csv row", 0)?;
    let (mut line, mut rows) = (Vec::new(), 0);
    header(&features, &mut output).map_err(at)?;
    job.each_record(&mut |place, record| {
        // A value of a byte takes no more than two and a comma; a number of four at most twenty.
        let most_bytes = (record.len() as u64).saturating_mul(20).saturating_add(64);
        let columns: u64 = features.iter().map(columns_of).sum();
        let more_bytes = (most_bytes + columns).saturating_sub(reservation.bytes());
        reservation.try_grow(more_bytes)?;
        line.clear();
        let found = picked(&features, record).map_err(|error| place.error(error))?;
        for (feature, found) in features.iter().zip(found) {
            put(feature, found, &mut line).map_err(|why| place_error(place, feature, why))?;
        }
        // Each cell ends with a comma; the last one's becomes the line's end.
        line.pop();
        line.push(b'\n');
        rows += 1;
        output.write_all(&line).map_err(at)
    })?;
    output.commit()?;
    Ok(rows)
}

fn place_error(place: &RecordPlace<'_>, feature: &FeatureSummary, why: String) -> Error {
    place.error(format!("feature '{}': {why}", feature.name))
}

fn columns_of(feature: &FeatureSummary) -> u64 {
    feature.count.map_or(1, |count| count.max.max(1))
}

fn check(feature: &FeatureSummary) -> Result<(), Error> {
    let (min, max) = feature.count.map_or((0, 0), |c| (c.min, c.max));
    let why = if max > MAX_COLUMNS {
        format!("has {max} values, and a table at most {MAX_COLUMNS} columns of one feature: use .npz")
    } else if max > 1 && (min < max || feature.records < feature.of_records) {
        format!("has {min} to {max} values in some records and not in others; a table needs as many in all")
    } else {
        return Ok(());
    };
    Err(Error::Usage(format!("feature '{}' {why}", feature.name)))
}

fn header(features: &[FeatureSummary], output: &mut Output) -> std::io::Result<()> {
    let mut text = Vec::new();
    let mut comma = false;
    for feature in features {
        for i in 0..columns_of(feature) {
            text.clear();
            text.extend(comma.then_some(b','));
            match columns_of(feature) {
                1 => put_field(&mut text, feature.name.as_bytes()),
                _ => put_field(&mut text, format!("{}[{i}]", feature.name).as_bytes()),
            }
            output.write_all(&text)?;
            comma = true;
        }
    }
    output.write_all(b"\n")
}

/// Appends the cells of `feature`, each with a comma after it.
fn put(feature: &FeatureSummary, found: Option<Feature<'_>>, line: &mut Vec<u8>) -> Result<(), String> {
    let cells = match &found {
        Some(found) => put_values(found, line)?,
        None => 0,
    };
    let missing = columns_of(feature).saturating_sub(cells);
    line.extend(std::iter::repeat_n(b',', missing as usize));
    Ok(())
}

fn put_values(feature: &Feature<'_>, line: &mut Vec<u8>) -> Result<u64, String> {
    let mut cells = 0;
    match feature.kind() {
        FeatureKind::Empty => {}
        FeatureKind::Int64 => {
            for value in feature.ints() {
                let value = value.map_err(|error| error.to_string())?;
                line.extend_from_slice(format!("{value},").as_bytes());
                cells += 1;
            }
        }
        FeatureKind::Float => {
            for run in feature.float_runs() {
                for value in run.map_err(|error| error.to_string())? {
                    // With a point or an exponent, so that it is read as a float again.
                    line.extend_from_slice(format!("{:?},", f32::from_le_bytes(*value)).as_bytes());
                    cells += 1;
                }
            }
        }
        FeatureKind::Bytes => {
            for value in feature.bytes() {
                let value = value.map_err(|error| error.to_string())?;
                if std::str::from_utf8(value).is_err() {
                    return Err("CSV cannot hold bytes that are not UTF-8: use .npz".to_string());
                }
                put_field(line, value);
                line.push(b',');
                cells += 1;
            }
        }
    }
    Ok(cells)
}
