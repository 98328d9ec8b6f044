/* TightFit: TensorFlow models in the memory you have.
 *
 * Link with -ltightfit_c. Every function may be called from any thread, but a model by one thread at a time.
 */
#ifndef TIGHTFIT_H
#define TIGHTFIT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A model that is open. */
typedef struct tightfit_model tightfit_model;

/* How a call ended: the exit codes of the command line. */
typedef enum tightfit_status {
    TIGHTFIT_OK = 0,
    TIGHTFIT_FAILED = 1,  /* The model, a file or the data. */
    TIGHTFIT_USAGE = 2,   /* An argument makes no sense. */
    TIGHTFIT_NOT_FIT = 3, /* It does not fit the memory: nothing has been computed. */
} tightfit_status;

/* Types of elements. */
typedef enum tightfit_dtype {
    TIGHTFIT_FLOAT32 = 0,
    TIGHTFIT_FLOAT64 = 1,
    TIGHTFIT_FLOAT16 = 2,
    TIGHTFIT_BFLOAT16 = 3,
    TIGHTFIT_INT8 = 4,
    TIGHTFIT_INT16 = 5,
    TIGHTFIT_INT32 = 6,
    TIGHTFIT_INT64 = 7,
    TIGHTFIT_UINT8 = 8,
    TIGHTFIT_UINT16 = 9,
    TIGHTFIT_UINT32 = 10,
    TIGHTFIT_UINT64 = 11,
    TIGHTFIT_BOOL = 12,   /* A byte of 0 or 1. */
    TIGHTFIT_STRING = 13, /* Elements are tightfit_text. */
    TIGHTFIT_COMPLEX64 = 14,
    TIGHTFIT_COMPLEX128 = 15,
} tightfit_dtype;

/* An element of a string tensor: bytes, with or without a zero after them. */
typedef struct tightfit_text {
    const char *data;
    size_t bytes;
} tightfit_text;

/* What a model is to be opened with. All zeros are the defaults. */
typedef struct tightfit_options {
    uint64_t memory_bytes;  /* What the process may take, itself included; 0 for 80 % of what is free. */
    size_t threads;         /* Threads that compute; 0 for one of each processor. */
    const char *signature;  /* The signature to run; NULL for serving_default, or the only one. */
    const char *checkpoint; /* The checkpoint with the values of variables; NULL where the model says. */
} tightfit_options;

/* What an input or output of a model is. */
typedef struct tightfit_spec {
    const char *name;     /* Valid as long as the model. */
    tightfit_dtype dtype;
    int64_t rank;         /* How many dimensions; -1 where that is not known. */
    const int64_t *shape; /* The dimensions, -1 for an open one. Valid as long as the model. */
} tightfit_spec;

/* A dense tensor in row-major order. */
typedef struct tightfit_tensor {
    const char *name;
    tightfit_dtype dtype;
    size_t rank;
    const size_t *shape;
    const void *data; /* Aligned for its elements. */
    size_t bytes;
} tightfit_tensor;

/* Where the memory goes, in bytes. */
typedef struct tightfit_plan_lines {
    uint64_t minimum_bytes; /* The smallest memory that works. */
    uint64_t planned_bytes; /* All lines together. */
    uint64_t runtime_bytes;
    uint64_t weights_bytes;
    uint64_t window_bytes;
    uint64_t arena_bytes;
    uint64_t pipeline_bytes;
    uint64_t sink_bytes;
} tightfit_plan_lines;

/* The version, as "0.1.0". */
const char *tightfit_version(void);

/* What went wrong in the last call of this thread that failed, in one line. Valid until its next call. */
const char *tightfit_error(void);

/* The smallest memory that works, where the last call of this thread ended with TIGHTFIT_NOT_FIT and it is known; else 0. */
uint64_t tightfit_error_minimum_bytes(void);

/* Opens the model at `path`: whatever `tightfit run` takes. `options` may be NULL. Weights are read by the first run.
 * On success `*model` has to be given to tightfit_close. */
tightfit_status tightfit_open(const char *path, const tightfit_options *options, tightfit_model **model);

/* Lets go of a model and of all that its functions returned. NULL has no effect. */
void tightfit_close(tightfit_model *model);

/* Inputs and outputs. An index that is too large is TIGHTFIT_USAGE. */
size_t tightfit_input_count(const tightfit_model *model);
size_t tightfit_output_count(const tightfit_model *model);
tightfit_status tightfit_input(const tightfit_model *model, size_t index, tightfit_spec *spec);
tightfit_status tightfit_output(const tightfit_model *model, size_t index, tightfit_spec *spec);

/* How the model lies in memory for `batch` rows. Nothing is computed. */
tightfit_status tightfit_plan(const tightfit_model *model, size_t batch, tightfit_plan_lines *lines);

/* Computes the outputs for one tensor per input, in any order, by name. They are read where they are, and not written to. */
tightfit_status tightfit_run(tightfit_model *model, const tightfit_tensor *inputs, size_t count);

/* Output `index` of the last run. What it points to is valid until the model is run again or closed. */
tightfit_status tightfit_result(const tightfit_model *model, size_t index, tightfit_tensor *output);

/* Makes every variable of the model what it is before the first run. */
tightfit_status tightfit_reset(tightfit_model *model);

#ifdef __cplusplus
}
#endif

#endif
