#!/usr/bin/env python3
"""Makes the SavedModels and checkpoints beside it, with inputs and TensorFlow's outputs: python make.py FOLDER.

keras_export, keras_saved   a trained Keras model through model.export() and tf.saved_model.save
functions                   a tf.Module with two signatures: a gather from an embedding, a call within a call, a variable
                            of strings beside them
words                       a vocabulary in a file, looked up in at both ends of the model, and labels in a table of constants
saved_text                  TensorFlow 1, saved_model.pbtxt with two graphs over the same variable
checkpoint                  TensorFlow 1: .meta, an unfrozen graph, and variables partitioned by rows and by columns
"""
import os, shutil, sys
os.environ.update(TF_CPP_MIN_LOG_LEVEL='3', TF_ENABLE_ONEDNN_OPTS='0', CUDA_VISIBLE_DEVICES='')
import numpy as np, tensorflow as tf, keras

os.chdir(sys.argv[1])
keras.utils.set_random_seed(1)
v1 = tf.compat.v1

model = keras.Sequential([
    keras.layers.Input((6, 6, 2), name='image'),
    keras.layers.Conv2D(4, 3, activation='relu'), keras.layers.BatchNormalization(),
    keras.layers.Flatten(), keras.layers.Dense(3, activation='softmax')])
model.compile('adam', 'sparse_categorical_crossentropy')
x = np.random.rand(32, 6, 6, 2).astype('f4')
model.fit(x, np.random.randint(0, 3, 32), epochs=2, verbose=0)
np.save('image.npy', x[:3]); np.save('image_out.npy', model.predict(x[:3], verbose=0))
model.export('keras_export', verbose=False)
tf.saved_model.save(model, 'keras_saved')

class Module(tf.Module):
    def __init__(self):
        self.table = tf.Variable(np.random.rand(20, 5).astype('f4'), name='table')
        self.matrix = tf.Variable(np.random.rand(5, 4).astype('f4'))
        self.words = tf.Variable(['a', 'bcd'])
    @tf.function
    def product(self, v):
        return tf.matmul(v, self.matrix)
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name='ids')])
    def look(self, ids):
        rows = tf.gather(self.table, ids)
        return {'rows': rows, 'product': self.product(rows)}
    @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.float32, name='v')])
    def multiply(self, v):
        return {'product': self.product(v)}
module = Module()
ids = np.array([3, 7, 19], 'i4')
out = module.look(ids)
np.save('ids.npy', ids); np.save('ids_rows.npy', out['rows']); np.save('ids_product.npy', out['product'])
tf.saved_model.save(module, 'functions', signatures={'look': module.look, 'multiply': module.multiply})

def graph():
    rows = v1.get_variable('rows', [10, 7], partitioner=v1.fixed_size_partitioner(3, axis=0), use_resource=False,
                           initializer=v1.random_normal_initializer(seed=1))
    columns = v1.get_variable('columns', [7, 9], partitioner=v1.fixed_size_partitioner(4, axis=1), use_resource=True,
                              initializer=v1.random_normal_initializer(seed=2))
    a = v1.placeholder(tf.float32, [None, 10], name='a')
    out = tf.matmul(tf.matmul(a, tf.convert_to_tensor(rows)), tf.convert_to_tensor(columns), name='out')
    step = v1.get_variable('step', [], tf.int64, initializer=v1.zeros_initializer(), trainable=False)
    return a, out, v1.train.AdamOptimizer(0.01).minimize(tf.reduce_mean(out * out), global_step=step)

with tf.Graph().as_default(), v1.Session() as session:
    a, out, train = graph()
    saver = v1.train.Saver()
    session.run(v1.global_variables_initializer())
    value = np.random.rand(5, 10).astype('f4')
    for _ in range(3):
        session.run(train, {a: value})
    saver.save(session, 'checkpoint/model.ckpt')
    os.remove('checkpoint/checkpoint')
    v1.train.write_graph(session.graph_def, 'checkpoint', 'graph.pb', as_text=False)
    np.save('a.npy', value); np.save('a_out.npy', session.run(out, {a: value}))

def line(slope, key):
    """slope * x + offset, where the slope is part of the graph and the offset a variable."""
    x = v1.placeholder(tf.float32, [None], name='x')
    offset = v1.get_variable('offset', [1], initializer=v1.constant_initializer(0.5), use_resource=True)
    out = tf.add(x * slope, offset, name='line')
    return {key: v1.saved_model.predict_signature_def({'in': x}, {'result': out})}

builder = v1.saved_model.builder.SavedModelBuilder('saved_text')
with tf.Graph().as_default(), v1.Session() as session:
    signatures = line(2.0, 'serving_default')
    session.run(v1.global_variables_initializer())
    builder.add_meta_graph_and_variables(session, ['serve'], signatures)
with tf.Graph().as_default(), v1.Session() as session:
    builder.add_meta_graph(['serve', 'steep'], line(10.0, 'steeply'))
builder.save(as_text=True)

class Words(tf.Module):
    def __init__(self):
        with open('vocabulary.txt', 'w') as file:
            file.write('no\nyes\nhello\nworld\n')
        words = tf.lookup.TextFileInitializer('vocabulary.txt', tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
                                              tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
        self.vocabulary = tf.lookup.StaticHashTable(words, 4)
        labels = tf.lookup.KeyValueTensorInitializer(np.arange(3, dtype='i8'), ['yes', 'maybe', 'no'])
        self.labels = tf.lookup.StaticHashTable(labels, '')
        self.embedding = tf.Variable(np.random.RandomState(2).randn(5, 40).astype('f4'))
        self.matrix = tf.Variable(np.random.RandomState(3).randn(40, 30).astype('f4'))
        self.last = tf.Variable(np.random.RandomState(4).randn(30, 3).astype('f4'))
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='word')])
    def answer(self, word):
        rows = tf.gather(self.embedding, self.vocabulary.lookup(word))
        scores = tf.matmul(tf.nn.relu(tf.matmul(rows, self.matrix)), self.last)
        label = self.labels.lookup(tf.argmax(scores, axis=1))
        return {'scores': scores, 'place': self.vocabulary.lookup(label)}
words = Words()
out = words.answer(tf.constant(['no', 'yes', 'hello', 'other']))
np.save('words_scores.npy', out['scores']); np.save('words_place.npy', out['place'])
tf.saved_model.save(words, 'words', signatures=words.answer)
os.remove('vocabulary.txt'); os.remove('words/fingerprint.pb')

for folder in ['keras_export', 'keras_saved', 'functions']:
    os.remove(folder + '/fingerprint.pb'); shutil.rmtree(folder + '/assets')
