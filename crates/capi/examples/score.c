/* Scores two pictures with the digits model, in 64 MiB: score MODEL */
#include <stdio.h>
#include <stdlib.h>

#include "tightfit.h"

static int failed(void) {
    fprintf(stderr, "score: %s\n", tightfit_error());
    return EXIT_FAILURE;
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: score MODEL\n");
        return 2;
    }
    tightfit_options options = {.memory_bytes = 64 << 20, .threads = 2};
    tightfit_model *model = NULL;
    if (tightfit_open(arguments[1], &options, &model) != TIGHTFIT_OK) return failed();

    tightfit_plan_lines plan;
    if (tightfit_plan(model, 2, &plan) != TIGHTFIT_OK) return failed();
    printf("fits: %s\n", plan.planned_bytes <= options.memory_bytes ? "yes" : "no");

    /* A picture of paper and one of ink. */
    static float pixels[2 * 8 * 8];
    for (int i = 64; i < 128; i++) pixels[i] = 1.0f;
    const size_t shape[] = {2, 8, 8, 1};
    tightfit_tensor image = {"image", TIGHTFIT_FLOAT32, 4, shape, pixels, sizeof pixels};
    if (tightfit_run(model, &image, 1) != TIGHTFIT_OK) return failed();

    tightfit_tensor scores;
    if (tightfit_result(model, 0, &scores) != TIGHTFIT_OK) return failed();
    printf("%s: %zu x %zu\n", scores.name, scores.shape[0], scores.shape[1]);
    const float *values = scores.data;
    for (size_t row = 0; row < scores.shape[0]; row++) {
        float sum = 0;
        for (size_t digit = 0; digit < scores.shape[1]; digit++) sum += values[row * scores.shape[1] + digit];
        printf("row %zu adds up to %.3f\n", row, sum);
    }

    /* What does not fit says what would. */
    const size_t many[] = {1000000, 8, 8, 1};
    tightfit_tensor large = {"image", TIGHTFIT_FLOAT32, 4, many, pixels, sizeof pixels};
    tightfit_status status = tightfit_run(model, &large, 1);
    printf("wrong bytes: status %d, %s\n", (int)status, tightfit_error());
    status = tightfit_plan(model, 1000000, &plan);
    printf("a million rows: status %d, smallest known: %s\n", (int)status,
           tightfit_error_minimum_bytes() > options.memory_bytes ? "yes" : "no");
    tightfit_close(model);
    return EXIT_SUCCESS;
}
