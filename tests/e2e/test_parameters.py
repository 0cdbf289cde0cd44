"""Every field of the APIs that this one speaks for is in the table of parameters: honoured, refused by name, or taken
with a reason; and a field that is in none of its rows is a 400 that names it."""
import json
import os
import re
import subprocess
import typing

import pytest
from conftest import BUILD, NAME, TINY

pytestmark = pytest.mark.sanitize
CHAT, PLAIN, NATIVE = "/v1/chat/completions", "/v1/completions", "/generate"
PLACES = {"chat": CHAT, "completions": PLAIN, "generate": NATIVE}
SMALL = {CHAT: {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}, PLAIN: {"prompt": "Hi", "max_tokens": 1},
         NATIVE: {"text": "Hi", "sampling_params": {"max_new_tokens": 1}}}

# Fields of the request models of vLLM (main, November 2026) and SGLang (same), beyond OpenAI's.
BOTH = """truncate_prompt_tokens truncation_side stop_token_ids include_stop_str_in_output ignore_eos min_tokens skip_special_tokens
    spaces_between_special_tokens prompt_logprobs logprob_token_ids allowed_token_ids bad_words add_special_tokens response_format
    structured_outputs priority request_id session_id return_tokens_as_token_ids return_token_ids routed_experts_prompt_start
    return_token_offsets return_mm_kwargs cache_salt kv_transfer_params ec_transfer_params vllm_xargs repetition_detection
    thinking_token_budget stream_interval use_beam_search top_k min_p repetition_penalty watermarking length_penalty best_of
    guided_json guided_regex guided_choice guided_grammar structural_tag guided_decoding_backend guided_whitespace_pattern
    logits_processors mm_processor_kwargs
    return_hidden_states return_routed_experts routed_experts_start_len return_cached_tokens_details regex ebnf stop_regex no_stop_trim
    lora_path session_params custom_params custom_logit_processor images_config bootstrap_host bootstrap_port bootstrap_room
    routed_dp_rank disagg_prefill_dp_rank data_parallel_rank rid extra_key ngram_corpus_id""".split()
KNOWN = {
    "chat": BOTH + """reasoning_effort include_reasoning echo add_generation_prompt continue_final_message documents chat_template
        chat_template_kwargs media_io_kwargs return_prompt_text return_prompt_token_ids return_meta_info task separate_reasoning
        stream_reasoning max_dynamic_patch min_dynamic_patch use_audio_in_video input_ids""".split(),
    "completions": BOTH + "prompt_embeds json_schema custom_labels".split(),
    "sampling_params": """max_new_tokens stop stop_token_ids stop_regex temperature top_p top_k min_p frequency_penalty presence_penalty
        repetition_penalty min_new_tokens n json_schema regex ebnf structural_tag ignore_eos skip_special_tokens
        spaces_between_special_tokens no_stop_trim custom_params stream_interval logit_bias sampling_seed""".split(),
    "generate": """rid session_id text input_ids input_embeds image_data video_data audio_data mm_hashes mm_content_hashes
        use_audio_in_video video_config sampling_params return_logprob logprob_start_len top_logprobs_num token_ids_logprob
        return_sampling_mask return_text_in_logprobs return_flat_raw_top_logprobs return_flat_raw_top_logprobs_b64 stream log_metrics
        return_hidden_states return_routed_experts routed_experts_start_len return_indexer_topk modalities session_params lora_path lora_id
        custom_logit_processor positional_embed_overrides bootstrap_host bootstrap_port bootstrap_room bootstrap_pair_key decode_tp_size
        routed_dp_rank data_parallel_rank disagg_prefill_dp_rank kv_router_hint routing_key conversation_id http_worker_ipc background
        require_reasoning max_thinking_tokens priority extra_key no_logs custom_labels return_bytes return_entropy return_prompt_token_ids
        external_trace_header received_time need_wait_for_mm_inputs num_items_assigned encoder_urls max_dynamic_patch min_dynamic_patch
        image_max_dynamic_patch video_max_dynamic_patch images_config multi_item_delimiter_indices cache_salt""".split(),
    "tokenize": """model prompt messages add_special_tokens return_token_strs add_generation_prompt continue_final_message chat_template
        chat_template_kwargs mm_processor_kwargs tools""".split(),
    "detokenize": ["model", "tokens"],
}


def table():
    """{place: {name: what}} as the router prints it."""
    text = subprocess.run([os.path.join(BUILD, "msgl-router"), "--print-api"], capture_output=True, text=True, check=True).stdout
    found = {}
    for name, places, what in re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| ([^|]+) \|", text, re.M):
        for place in places.split(", "):
            assert name not in found.setdefault(place, {}), (place, name)
            found[place][name] = what
    return found


def test_every_field_is_in_the_table():
    from openai.types import completion_create_params as plain
    from openai.types.chat import completion_create_params as chat
    rows, counts = table(), {}
    wanted = {place: set(names) for place, names in KNOWN.items()}
    for place, types in (("chat", (chat.CompletionCreateParamsNonStreaming, chat.CompletionCreateParamsStreaming)),
                         ("completions", (plain.CompletionCreateParamsNonStreaming, plain.CompletionCreateParamsStreaming))):
        for kind in types:
            wanted[place] |= set(typing.get_type_hints(kind)) if not hasattr(kind, "__annotations__") else {
                n for base in (kind, *getattr(kind, "__orig_bases__", ())) for n in getattr(base, "__annotations__", {})}
        assert {"messages", "stream", "temperature", "seed"} - {"messages"} <= wanted[place], wanted[place]
    for place, names in wanted.items():
        missing = sorted(names - set(rows[place]))
        assert not missing, f"{place} lacks {missing}"
        counts[place] = (len(names), len(rows[place]))
    print("fields of the other APIs, and rows here:", counts)


def test_refused_rows_name_themselves(shared):
    refused = 0
    for place, path in PLACES.items():
        for name, what in table()[place].items():
            if not what.startswith("refused"):
                continue
            reply = shared.post(path, {**SMALL[path], name: {"something": ["odd"]}})
            assert reply.status_code == 400 and reply.json()["error"]["param"] == name, (path, name, reply.text)
            assert name in reply.json()["error"]["message"]
            refused += 1
            assert shared.post(path, {**SMALL[path], name: None, "ignore_eos": 5}).json()["error"]["param"] == "ignore_eos"
    assert refused > 100
    print(refused, "refused parameters name themselves")


def test_what_load_generators_send(shared):
    """SGLang's bench_serving names the adapter "" when it wants none."""
    body = {"text": "Hi", "sampling_params": {"temperature": 0.0, "max_new_tokens": 2, "ignore_eos": True}, "lora_path": "",
            "return_logprob": False, "return_routed_experts": False, "logprob_start_len": -1}
    assert shared.post(NATIVE, body).status_code == 200
    assert shared.post(NATIVE, {**body, "stream": True}).text.rstrip().endswith("data: [DONE]")


def test_tags_and_hints_are_taken(shared):
    for place, path in PLACES.items():
        names = [n for n, what in table()[place].items() if what.startswith("taken")]
        reply = shared.post(path, {**SMALL[path], **dict.fromkeys(names, "x")})
        assert names and reply.status_code == 200, reply.text


def test_unknown_fields(shared, cluster):
    for path, body in SMALL.items():
        reply = shared.post(path, {**body, "temprature": 0})
        assert reply.status_code == 400 and reply.json()["error"]["param"] == "temprature", reply.text
    reply = shared.post(NATIVE, {"text": "x", "sampling_params": {"max_tokens": 1}})  # its name there is max_new_tokens
    assert reply.json()["error"]["param"] == "max_tokens", reply.text
    assert shared.post("/tokenize", {"prompt": "x", "temperature": 0}).json()["error"]["param"] == "temperature"
    assert shared.post("/detokenize", {"tokens": [1], "prompt": ""}).json()["error"]["param"] == "prompt"
    options = {"stream": True, "stream_options": {"include_usages": True}}
    assert "include_usages" in shared.post(CHAT, {**SMALL[CHAT], **options}).json()["error"]["message"]
    name = "ünknown" * 50
    reply = shared.post(PLAIN, {"prompt": "x", name: 1})
    assert reply.status_code == 400 and name.startswith(reply.json()["error"]["param"])
    c = cluster(router_args=["--unknown-fields", "ignore"])
    for path, body in SMALL.items():
        assert c.post(path, {**body, "temprature": 0}).status_code == 200
    assert c.post(CHAT, {**SMALL[CHAT], "store": True}).json()["error"]["param"] == "store"


def test_prompt_logprobs(shared):
    prompt = "The capital of France is Paris, and"
    echo = shared.complete(prompt, 2, echo=True, logprobs=3)["choices"][0]["logprobs"]
    reply = shared.complete(prompt, 2, prompt_logprobs=3, logprobs=1, return_token_ids=True)["choices"][0]
    told, ids = reply["prompt_logprobs"], reply["prompt_token_ids"]
    assert told[0] is None and len(told) == len(ids) > 4
    for i in range(1, len(ids)):
        mine = told[i][str(ids[i])]
        assert mine["logprob"] == pytest.approx(echo["token_logprobs"][i], abs=1e-3) and mine["decoded_token"] == echo["tokens"][i]
        ranked = sorted(told[i].values(), key=lambda t: t["rank"])
        assert [t["rank"] for t in ranked[:3]] == [1, 2, 3] and ranked[3:] in ([], [mine]) and ranked[-1]["rank"] != 0
        assert all(a["logprob"] >= b["logprob"] for a, b in zip(ranked, ranked[1:]))
    assert all(1 <= len(t) <= 2 for t in reply["logprobs"]["top_logprobs"]) and len(reply["logprobs"]["tokens"]) == 2
    bare = shared.complete(prompt, 1, prompt_logprobs=0)["choices"][0]
    assert bare["logprobs"] is None and [len(t) for t in bare["prompt_logprobs"][1:]] == [1] * (len(ids) - 1)
    wide = shared.complete(prompt, 1, prompt_logprobs=20)["choices"][0]["prompt_logprobs"]
    ranks = [next(iter(t.values()))["rank"] for t in bare["prompt_logprobs"][1:]]  # of tokens that are no alternative
    assert ranks == [w[str(t)]["rank"] for w, t in zip(wide[1:], ids[1:])] and max(ranks) > 20
    assert TINY or min(ranks) == 1  # random weights foresee nothing
    chat = shared.post(CHAT, {**SMALL[CHAT], "prompt_logprobs": 1, "return_token_ids": True}).json()
    assert len(chat["prompt_logprobs"]) == len(chat["prompt_token_ids"]) and chat["choices"][0]["logprobs"] is None
    reply = shared.post(PLAIN, {"prompt": "x", "prompt_logprobs": 1, "stream": True})
    assert reply.json()["error"]["param"] == "prompt_logprobs"
    assert shared.post(PLAIN, {"prompt": "x", "prompt_logprobs": 21}).json()["error"]["param"] == "prompt_logprobs"


def test_prompt_logprobs_of_generate(shared):
    prompt = "The capital of France is"
    body = {"text": prompt, "sampling_params": {"temperature": 0, "max_new_tokens": 3}, "return_logprob": True}
    plain = shared.post(NATIVE, body).json()["meta_info"]
    assert "input_token_logprobs" not in plain
    told = shared.post(NATIVE, {**body, "logprob_start_len": 0, "top_logprobs_num": 2, "return_text_in_logprobs": True}).json()["meta_info"]
    echo = shared.complete(prompt, 1, echo=True, logprobs=2)["choices"][0]["logprobs"]
    assert [t[2] for t in told["input_token_logprobs"]] == echo["tokens"][:-1] and told["input_token_logprobs"][0][0] is None
    assert [t[0] for t in told["input_token_logprobs"][1:]] == pytest.approx(echo["token_logprobs"][1:-1], abs=1e-3)
    assert told["input_top_logprobs"][0] is None and [len(t) for t in told["input_top_logprobs"][1:]] == [2] * (len(echo["tokens"]) - 2)
    assert [t[1] for t in told["output_token_logprobs"]] == [t[1] for t in plain["output_token_logprobs"]]
    tail = shared.post(NATIVE, {**body, "logprob_start_len": 3}).json()["meta_info"]["input_token_logprobs"]
    assert [t[1] for t in tail] == [t[1] for t in told["input_token_logprobs"][3:]]


def test_bad_words(shared):
    ask = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 24, "temperature": 0}
    free = shared.post(CHAT, ask).json()["choices"][0]["message"]["content"]
    for words in (["Paris"], ["ari", "France", " is"], ["P", "p", "F"]):
        for fields in ({}, {"temperature": 1.5, "seed": 5}):
            reply = shared.post(CHAT, {**ask, **fields, "bad_words": words})
            assert reply.status_code == 200, reply.text
            text = reply.json()["choices"][0]["message"]["content"]
            assert text and not any(w in text for w in words), (words, text)
    assert shared.post(CHAT, {**ask, "bad_words": []}).json()["choices"][0]["message"]["content"] == free
    assert shared.post(CHAT, {**ask, "bad_words": ["zqzq%%qz"]}).json()["choices"][0]["message"]["content"] == free
    for wrong in ("Paris", [""], [1], ["x" * 5000]):
        assert shared.post(CHAT, {**ask, "bad_words": wrong}).json()["error"]["param"] == "bad_words"


def test_allowed_token_ids(shared):
    ids = [shared.post("/tokenize", {"prompt": word}).json()["tokens"][0] for word in (" red", " green", " blue")]
    end = shared.post("/tokenize", {"messages": [{"role": "user", "content": "x"}], "add_generation_prompt": False}).json()["tokens"][-2]
    reply = shared.complete("The colours are", 30, allowed_token_ids=ids, temperature=20, seed=3, return_token_ids=True, n=2, logprobs=5)
    for choice in reply["choices"]:
        assert len(choice["token_ids"]) == 30 and set(choice["token_ids"]) <= set(ids) and len(set(choice["token_ids"])) > 1
        assert all(sum(v > -9999 for v in top.values()) <= 3 for top in choice["logprobs"]["top_logprobs"])
    body = {"messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 400, "temperature": 20, "seed": 1, "return_token_ids": True}
    ended = shared.post(CHAT, {**body, "allowed_token_ids": [ids[0], end]}).json()["choices"][0]
    assert ended["finish_reason"] == "stop" and set(ended["token_ids"]) <= {ids[0], end}, ended
    assert len(shared.complete("x", 5, allowed_token_ids=[end], ignore_eos=True, return_token_ids=True)["choices"][0]["token_ids"]) == 5
    for bad in ([], [10 ** 9], [-1], ["x"], [1.5], 5):
        error = shared.post(CHAT, {**body, "allowed_token_ids": bad}).json()["error"]
        assert error["param"] == "allowed_token_ids" and "allowed_token_ids" in error["message"], error
    assert "exclude" in shared.post(CHAT, {**body, "allowed_token_ids": ids, "guided_regex": "a"}).json()["error"]["message"]


def test_truncation(shared):
    def ids(**fields):
        return shared.post(PLAIN, {"prompt": "one two three four five", "max_tokens": 1, "return_token_ids": True, **fields}).json()["choices"][0]["prompt_token_ids"]
    whole = ids()
    assert ids(truncate_prompt_tokens=2) == whole[-2:] and ids(truncate_prompt_tokens=2, truncation_side="right") == whole[:2]
    assert ids(truncate_prompt_tokens=-1) == whole == ids(truncate_prompt_tokens=1000)
    long = shared.post(PLAIN, {"prompt": "word " * 12000, "max_tokens": 1})
    assert long.status_code == 400
    cut = shared.post(PLAIN, {"prompt": "word " * 12000, "max_tokens": 1, "truncate_prompt_tokens": 20, "logprobs": 1})
    assert cut.status_code == 200 and cut.json()["usage"]["prompt_tokens"] == 20
    for field, value in (("truncate_prompt_tokens", 0), ("truncate_prompt_tokens", -2), ("truncation_side", "up")):
        assert shared.post(PLAIN, {"prompt": "x", field: value}).json()["error"]["param"] == field


def test_what_the_template_does_not_read(shared):
    """SmolLM2's template knows neither documents nor effort: saying so is better than dropping them."""
    for field, value in (("documents", [{"title": "t", "text": "x"}]), ("reasoning_effort", "low")):
        reply = shared.post(CHAT, {**SMALL[CHAT], field: value})
        assert reply.status_code == 400 and reply.json()["error"]["param"] == field
    for field, value in (("documents", []), ("reasoning_effort", "none")):  # which it does not do anyway
        assert shared.post(CHAT, {**SMALL[CHAT], field: value}).status_code == 200


def test_what_the_template_reads(shared, cluster, tmp_path):
    folder = tmp_path / NAME
    folder.mkdir()
    for name in os.listdir(shared.model):
        if name != "tokenizer_config.json":
            os.symlink(os.path.join(shared.model, name), folder / name)
    with open(os.path.join(shared.model, "tokenizer_config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config.pop("chat_template")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(
        "{% for d in documents or [] %}[{{ d.title }}]{% endfor %}{{ reasoning_effort }}/{{ enable_thinking }}/{{ messages[0].content }}")
    c = cluster(model=str(folder))

    def text(**fields):
        made = c.post("/tokenize", {"messages": [{"role": "user", "content": "Hi"}], "chat_template_kwargs": fields}).json()
        return c.post("/detokenize", {"tokens": made["tokens"]}).json()["prompt"]
    assert text(reasoning_effort="low", documents=[{"title": "a"}, {"title": "b"}]) == "[a][b]low//Hi"
    got = []
    for fields in ({"reasoning_effort": "none"}, {"reasoning_effort": "high", "documents": [{"title": "t"}]},
                   {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}}):
        reply = c.post(CHAT, {**SMALL[CHAT], **fields, "return_token_ids": True})
        assert reply.status_code == 200, reply.text
        got.append(c.post("/detokenize", {"tokens": reply.json()["prompt_token_ids"]}).json()["prompt"])
    assert got == ["none/False/Hi", "[t]high/True/Hi", "low/False/Hi"]
