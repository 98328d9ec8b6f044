// The digits model after a class that frees it: classify MODEL
#include <algorithm>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tightfit.h"

class Model {
public:
    Model(const std::string &path, std::uint64_t memory_bytes) {
        tightfit_options options{};
        options.memory_bytes = memory_bytes;
        tightfit_model *opened = nullptr;
        check(tightfit_open(path.c_str(), &options, &opened));
        model_.reset(opened);
    }

    // The scores of rows of pixels, of an input whose other dimensions the model knows.
    std::vector<float> run(const std::vector<float> &pixels) {
        tightfit_spec spec{};
        check(tightfit_input(model_.get(), 0, &spec));
        std::vector<std::size_t> shape;
        std::size_t row = 1;
        for (std::int64_t axis = 1; axis < spec.rank; axis++) row *= static_cast<std::size_t>(spec.shape[axis]);
        shape.push_back(pixels.size() / row);
        for (std::int64_t axis = 1; axis < spec.rank; axis++) shape.push_back(static_cast<std::size_t>(spec.shape[axis]));
        tightfit_tensor input{spec.name, TIGHTFIT_FLOAT32, shape.size(), shape.data(), pixels.data(),
                              pixels.size() * sizeof(float)};
        check(tightfit_run(model_.get(), &input, 1));
        tightfit_tensor output{};
        check(tightfit_result(model_.get(), 0, &output));
        const float *first = static_cast<const float *>(output.data);
        return {first, first + output.bytes / sizeof(float)};
    }

private:
    static void check(tightfit_status status) {
        if (status != TIGHTFIT_OK) throw std::runtime_error(tightfit_error());
    }

    struct Close {
        void operator()(tightfit_model *model) const { tightfit_close(model); }
    };
    std::unique_ptr<tightfit_model, Close> model_;
};

int main(int count, char **arguments) {
    if (count != 2) {
        std::cerr << "usage: classify MODEL\n";
        return 2;
    }
    try {
        Model("no such model", 64 << 20);
    } catch (const std::runtime_error &error) {
        std::cout << "error: " << error.what() << "\n";
    }
    Model model(arguments[1], 64 << 20);
    for (std::size_t rows : {1, 3}) {
        auto scores = model.run(std::vector<float>(rows * 64, 0.5f));
        auto best = std::max_element(scores.begin(), scores.begin() + 10) - scores.begin();
        std::cout << rows << " rows: " << scores.size() << " scores, the first is digit " << best << "\n";
    }
}
