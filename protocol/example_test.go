package protocol_test

import (
	"errors"
	"fmt"

	"github.com/gokernel/gokernel/protocol"
)

// A kernel answers a request: the answer carries the request's header as its
// parent and goes to where the request came from.
func ExampleNew() {
	request := &protocol.Message{
		Channel:    protocol.Shell,
		Identities: [][]byte{[]byte("client-1")},
		Header:     protocol.Header{MsgID: "42", MsgType: "is_complete_request", Session: "c"},
	}
	reply, err := protocol.New(protocol.Shell, &protocol.IsCompleteReply{Status: "incomplete", Indent: "    "}, request)
	if err != nil {
		fmt.Println(err)
		return
	}
	parent, err := reply.ParentHeader()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s to %s about %s: %s\n", reply.Header.MsgType, reply.Identities[0], parent.MsgID, reply.Content)
	// Output: is_complete_reply to client-1 about 42: {"status":"incomplete","indent":"    "}
}

// What comes from a socket is checked and decoded; what is forged is refused.
func ExampleDecodeFrames() {
	signer, err := protocol.NewSigner(protocol.SchemeHMACSHA256, "the key of the connection file")
	if err != nil {
		fmt.Println(err)
		return
	}
	sent, err := protocol.New(protocol.Shell, &protocol.ExecuteRequest{Code: "6*7"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	frames, err := protocol.EncodeFrames(sent, signer)
	if err != nil {
		fmt.Println(err)
		return
	}
	received, err := protocol.DecodeFrames(frames, signer, protocol.Shell)
	if err != nil {
		fmt.Println(err)
		return
	}
	content, err := received.Decode()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(content.(*protocol.ExecuteRequest).Code)

	frames[len(frames)-1] = []byte(`{"code":"rm"}`)
	_, err = protocol.DecodeFrames(frames, signer, protocol.Shell)
	fmt.Println(errors.Is(err, protocol.ErrSignature))
	// Output:
	// 6*7
	// true
}
