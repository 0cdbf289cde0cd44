/* A backend that lacks what a model needs refuses it with a sentence that names the part. */
#include "worker/model/decoder.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static enum status check(const struct ops *ops, const char *name, uint32_t experts, uint32_t tp,
                         struct err *err)
{
    struct model_config config = {.arch = arch_find(name), .experts = experts};
    ck_assert_ptr_nonnull(config.arch);
    struct device_info device = {0};
    return decoder_check(ops, &device, &config, tp, err);
}

START_TEST(refuses_what_the_backend_lacks)
{
    struct ops ops = *ops_find("cpu");
    struct err err = {0};
    ck_assert_int_eq(check(&ops, "MixtralForCausalLM", 8, 1, &err), STATUS_OK);
    ck_assert_int_eq(check(&ops, "Olmo2ForCausalLM", 0, 1, &err), STATUS_OK);
    ck_assert_int_eq(check(&ops, "Olmo2ForCausalLM", 0, 2, &err), STATUS_OK);
    ops.qk_sums = NULL;
    ck_assert_int_eq(check(&ops, "Olmo2ForCausalLM", 0, 1, &err), STATUS_OK);
    ck_assert_int_eq(check(&ops, "Olmo2ForCausalLM", 0, 2, &err), STATUS_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "--tp must be 1"));
    ops.experts_down = NULL;
    ops.norm_part = NULL;
    ck_assert_int_eq(check(&ops, "MixtralForCausalLM", 8, 1, &err), STATUS_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "mixture of experts"));
    ck_assert_int_eq(check(&ops, "Olmo2ForCausalLM", 0, 1, &err), STATUS_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "q heads"));
    ck_assert_int_eq(check(&ops, "LlamaForCausalLM", 0, 1, &err), STATUS_OK);
    ck_assert_int_eq(check(&ops, "SmolLM3ForCausalLM", 0, 1, &err), STATUS_OK);
}
END_TEST

START_TEST(refuses_other_head_sizes)
{
    struct model_config config = {.arch = arch_find("Phi3ForCausalLM"), .head_dim = 96};
    struct device_info device = {.head_dims = {64, 128}};
    struct err err = {0};
    ck_assert_int_eq(decoder_check(ops_find("cpu"), &device, &config, 1, &err), STATUS_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "head_dim"));
    ck_assert_ptr_nonnull(strstr(err.text, "96"));
    config.head_dim = 128;
    ck_assert_int_eq(decoder_check(ops_find("cpu"), &device, &config, 1, &err), STATUS_OK);
    device = (struct device_info){0};
    config.head_dim = 96;
    ck_assert_int_eq(decoder_check(ops_find("cpu"), &device, &config, 1, &err), STATUS_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("decoder");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, refuses_what_the_backend_lacks);
    tcase_add_test(tcase, refuses_other_head_sizes);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
