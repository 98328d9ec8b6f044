use std::collections::HashMap;

use super::*;

fn numbers() -> TableType {
    TableType { key: DType::I64, key_elements: 1, value: DType::F32, value_elements: 2 }
}

fn texts() -> TableType {
    TableType { key: DType::String, key_elements: 1, value: DType::String, value_elements: 1 }
}

fn no_text(_: StringRef) -> &'static [u8] {
    &[]
}

#[test]
fn agrees_with_a_map_whatever_is_put_in_and_taken_out() {
    let budget = MemoryBudget::new(8 << 20);
    let mut table = Table::new(numbers(), &budget).unwrap();
    let mut map: HashMap<i64, [f32; 2]> = HashMap::new();
    let mut state = 1u64;
    for turn in 0..20_000 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let key = (state >> 33) as i64 % 500 - 250;
        let bytes = key.to_le_bytes();
        let elements = Elements { bytes: &bytes, text: &no_text };
        if state >> 60 < 7 {
            table.remove(elements);
            map.remove(&key);
        } else {
            let value = [turn as f32, key as f32];
            let value_bytes: &[u8] = bytemuck::cast_slice(&value);
            table.insert_one(elements, Elements { bytes: value_bytes, text: &no_text }).unwrap();
            map.insert(key, value);
        }
        assert_eq!(table.len(), map.len());
    }
    for key in -251i64..251 {
        let bytes = key.to_le_bytes();
        let found = table.find(Elements { bytes: &bytes, text: &no_text });
        let value = found.map(|entry| table.value(entry).0.to_vec());
        assert_eq!(value, map.get(&key).map(|value| bytemuck::cast_slice(value).to_vec()), "{key}");
    }
    let copy = table.try_clone(&budget).unwrap();
    table.clear();
    assert!(table.is_empty() && copy.len() == map.len());
}

#[test]
fn texts_that_are_replaced_and_removed_do_not_fill_the_memory() {
    let budget = MemoryBudget::new(64 << 10);
    let mut table = Table::new(texts(), &budget).unwrap();
    let whole: Vec<u8> = (0..=255).collect();
    let text = |string: StringRef| &whole[string.offset as usize..][..string.bytes as usize];
    let of = |offset: u64, bytes: u64| [StringRef { offset, bytes }];
    for turn in 0..10_000u64 {
        let (key, value) = (of(turn % 50, 3), of(turn % 100, 90));
        let key = Elements { bytes: bytemuck::cast_slice(&key), text: &text };
        let value = Elements { bytes: bytemuck::cast_slice(&value), text: &text };
        assert_eq!(table.differs(key, value), table.find(key).is_some_and(|_| true), "{turn}");
        table.insert_one(key, value).unwrap();
        if turn % 7 == 0 {
            table.remove(key);
        } else {
            assert!(!table.differs(key, value));
        }
    }
    for entry in 0..table.len() {
        let (key, value) = (table.key(entry).1.last().unwrap(), table.value(entry).1.last().unwrap());
        assert_eq!((key.len(), value.len()), (3, 90));
        assert_eq!(u64::from(value[0]) % 50, u64::from(key[0]));
    }
}

#[test]
fn past_the_budget_is_its_error() {
    let budget = MemoryBudget::new(2 << 10);
    let mut table = Table::new(numbers(), &budget).unwrap();
    let refused = (0..1000i64).find_map(|key| {
        let bytes = key.to_le_bytes();
        let elements = Elements { bytes: &bytes, text: &no_text };
        table.insert_one(elements, Elements { bytes: &[0; 8], text: &no_text }).err()
    });
    assert!(matches!(refused, Some(OpError::Budget(_))));
}
