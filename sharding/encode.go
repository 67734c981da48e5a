package sharding

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/torctrain/torc/model/tokenizer"
)

// Example is a sample as the model sees it.
type Example struct {
	Tokens       []int32
	Counted      []bool // Counted[i]: the prediction of Tokens[i] counts in the loss; Counted[0] is false
	PromptTokens int    // how many of Tokens are the prompt; 0 in a text sample
	Answer       string // what should follow the prompt; empty in a text sample, and from a Reader
	Where        string // file:line
	Empty        bool   // the sample has a prompt and an answer that says nothing; false from a Reader
	Bad          error  // why a conversation that the chat template refuses counts for nothing; nil from a Reader
}

// CountedTokens returns the number of tokens whose prediction counts.
func (x Example) CountedTokens() int {
	n := 0
	for _, c := range x.Counted {
		if c {
			n++
		}
	}
	return n
}

// Encoder turns samples into tokens. It is safe for concurrent use.
type Encoder struct {
	tok    *tokenizer.Tokenizer
	config Config
}

// NewEncoder returns an encoder that cuts or refuses samples of more than c.MaxTokens tokens; if that is 0, none.
func NewEncoder(tok *tokenizer.Tokenizer, c Config) *Encoder { return &Encoder{tok: tok, config: c} }

// hash identifies what Encode depends on besides the sample.
func (e *Encoder) hash() [32]byte {
	h := e.tok.Hash()
	return sha256.Sum256(fmt.Appendf(nil, "%x %d %s%s", h, e.config.MaxTokens, e.config.Overflow, e.config.BadRows))
}

// Encode returns the tokens of a line of a dataset as docs/formats.md says (Samples). Errors begin with where.
// A sample that loses all its counted tokens by truncation stays, and counts for nothing. So does, where bad rows are to be
// skipped, a conversation that the model's chat template refuses: it becomes one token that does not count.
func (e *Encoder) Encode(raw []byte, where string) (Example, error) {
	f, c, err := parse(raw)
	if err != nil {
		return Example{}, fmt.Errorf("%s: %w", where, err)
	}
	var x Example
	if c != nil {
		x, err = e.encodeConversation(c)
	} else {
		x, err = e.encode(f)
	}
	var unfit *tokenizer.ChatError
	if e.config.BadRows == "skip" && errors.As(err, &unfit) {
		x, err = Example{Tokens: []int32{0}, Counted: []bool{false}, Bad: unfit}, nil
	}
	if err == nil {
		err = e.fit(&x)
	}
	if err != nil {
		return Example{}, fmt.Errorf("%s: %w", where, err)
	}
	x.Where = where
	return x, nil
}

func (e *Encoder) encode(f fields) (Example, error) {
	var x Example
	if text, ok := f["text"]; ok {
		x.Tokens = e.tok.Encode(text, true)
	} else {
		prompt, answer := f.exchange()
		eos, ok := e.tok.EOS()
		if !ok {
			return x, errors.New("the tokenizer names no token that ends a text: set eos_token in the model's tokenizer_config.json")
		}
		x.Answer, x.Empty = answer, blank(answer)
		x.Tokens = e.tok.Encode(prompt, true)
		x.PromptTokens = len(x.Tokens)
		x.Tokens = append(append(x.Tokens, e.tok.Encode(answer, false)...), eos)
	}
	x.Counted = make([]bool, len(x.Tokens))
	for i := max(1, x.PromptTokens); i < len(x.Tokens); i++ {
		x.Counted[i] = true
	}
	return x, nil
}

func (e *Encoder) encodeConversation(c *conversation) (Example, error) {
	chat, err := e.tok.Chat(c.messages, c.tools)
	if err != nil {
		return Example{}, err
	}
	if len(chat.Counted) > 0 {
		chat.Counted[0] = false // nothing predicts it
	}
	return Example{Tokens: chat.Tokens, Counted: chat.Counted, PromptTokens: chat.Prompt, Answer: c.answer, Empty: blank(c.answer) && !c.calls}, nil
}

// fit cuts or refuses what is too long.
func (e *Encoder) fit(x *Example) error {
	most := e.config.MaxTokens
	if most == 0 || len(x.Tokens) <= most {
		return nil
	}
	if e.config.Overflow == "refuse" {
		return fmt.Errorf("sample has %d tokens, data.max_tokens is %d: raise it, shorten the sample, or set data.overflow to truncate", len(x.Tokens), most)
	}
	x.Tokens, x.Counted = x.Tokens[:most:most], x.Counted[:most:most]
	x.PromptTokens = min(x.PromptTokens, most)
	return nil
}

// The template of instruction samples, with and without input.
// Source: Stanford Alpaca, train.py, PROMPT_DICT.
const (
	alpacaInput = "Below is an instruction that describes a task, paired with an input that provides further context. " +
		"Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
	alpacaBare = "Below is an instruction that describes a task. " +
		"Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:"
)

// exchange returns what the model is given and what it is to answer. f is not a text sample.
func (f fields) exchange() (prompt, answer string) {
	if question, ok := f["question"]; ok {
		return "Question: " + question + "\nAnswer: ", f["answer"]
	}
	if instruction, ok := f["instruction"]; ok {
		template := alpacaBare
		if f["input"] != "" {
			template = alpacaInput
		}
		return strings.NewReplacer("{instruction}", instruction, "{input}", f["input"]).Replace(template), f["output"]
	}
	return f["prompt"], f["completion"]
}

// Final returns the part of an answer that exact match compares: what follows its last ####, else all of it, trimmed.
func Final(answer string) string {
	if i := strings.LastIndex(answer, "####"); i >= 0 {
		answer = answer[i+len("####"):]
	}
	return strings.TrimSpace(answer)
}
