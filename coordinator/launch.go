package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/files"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/model/tokenizer"
)

func newLaunchCmd() *cobra.Command {
	var local int
	var set []string
	var resume bool
	var from string
	var state *which
	cmd := &cobra.Command{
		Use:   "launch SPEC [--from RUN] | launch --resume RUN",
		Short: "Launch the run that a spec describes and follow it to its end",
		Long: `Launch resolves the spec (defaults, globs, URLs, every file by its hash), offers its files to the coordinator and follows the run.

Without --local the run goes to the coordinator named by --coordinator; Ctrl-C then detaches and the run goes on.
With --resume a run that was stopped or has failed goes on from its newest checkpoint.
With --from a new run begins with the State of another: its spec has more steps, another rate or other data, but the same model, method
and seed. It counts steps from where the other was; --checkpoint and --mirror say that a checkpoint of the other is meant.
With --local N a coordinator and N nodes are started on this machine for this run; Ctrl-C stops it and keeps its State.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if resume {
				return resumeRun(cmd, args[0], cmd.Flags().Changed("local") || len(set) > 0 || from != "" || *state != (which{}))
			}
			if from == "" && *state != (which{}) {
				return config.Usagef("--checkpoint, --mirror and --base say where the State of the run of --from is")
			}
			r, err := resolveSpec(cmd, args[0], set)
			if err == nil && from != "" {
				err = beginFrom(cmd, r, from, state)
			}
			if err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			if local > 0 {
				return launchLocal(cmd, r, local)
			}
			if cmd.Flags().Changed("local") {
				return config.Usagef("--local %d: must be at least 1", local)
			}
			return launchRemote(cmd, r)
		},
	}
	cmd.Flags().IntVar(&local, "local", 0, "start a coordinator and so many nodes on this machine for the run")
	cmd.Flags().BoolVar(&resume, "resume", false, "go on with the run of this name, which was stopped or has failed")
	cmd.Flags().StringArrayVar(&set, "set", nil, "override a field of the spec: --set optimizer.lr=1e-4 (repeatable)")
	cmd.Flags().StringVar(&from, "from", "", "begin with the State of this run")
	state = addStateFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}

// beginFrom makes r begin with a State of another run, which is kept by its content like any file that a run needs.
func beginFrom(cmd *cobra.Command, r *spec.Resolved, run string, state *which) error {
	settings, err := config.Load(cmd.Flags(), "coordinator")
	if err != nil {
		return err
	}
	other, err := state.open(cmd, run)
	if err != nil {
		return err
	}
	defer other.close()
	h, store := sha256.New(), files.Under(settings.Home)
	size, err := other.state.WriteTo(h)
	if err != nil {
		return err
	}
	sum := h.Sum(nil)
	if err := r.BeginFrom(other.spec, other.state.Step, spec.File{SHA256: spec.Sum(sum), Size: size, Path: store.Path(sum)}); err != nil {
		return fmt.Errorf("--from %s: %w", run, err)
	}
	out, in := io.Pipe()
	go func() {
		_, err := other.state.WriteTo(in)
		in.CloseWithError(err)
	}()
	_, err = store.Add(sum, size, out)
	_ = out.CloseWithError(err) // ends the writer, whatever happened
	return err
}

// resolveSpec reads a spec file and everything it names, and says what of the data is passed over.
func resolveSpec(cmd *cobra.Command, path string, set []string) (*spec.Resolved, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	s, err := spec.Parse(path, text, set)
	if err != nil {
		return nil, err
	}
	from, err := newSources(cmd)
	if err != nil {
		return nil, err
	}
	found, err := from.find(cmd.Context(), s, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r, err := spec.ResolveFound(s, filepath.Dir(path), found)
	if err != nil {
		return nil, err
	}
	if r.BadRows > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s passed over, the first: %v\n", amount(r.BadRows, "row is no sample and is", "rows are no samples and are"), r.Bad[0])
	}
	// The nodes would find out too, when the run has begun.
	if _, err := tokenizer.Load(filepath.Dir(r.Files[0].Path)); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return r, nil
}

func launchRemote(cmd *cobra.Command, r *spec.Resolved) error {
	conn, err := dialFlagged(cmd)
	if err != nil {
		return err
	}
	defer conn.Close()
	control := pb.NewControlClient(conn)
	run, err := submit(cmd.Context(), control, r, 0)
	if err != nil {
		if config.ExitCode(err) == config.ExitUnreachable {
			return config.Kind(config.ErrUnreachable, fmt.Errorf("no coordinator answers at %s: start one with `coordinator serve`, name another with --coordinator, or try `launch --local 1`", plain(conn)))
		}
		return err
	}
	return followRemote(cmd, control, run)
}

// resumeRun lets a run go on that has ended before its last step.
func resumeRun(cmd *cobra.Command, run string, other bool) error {
	if other {
		return config.Usagef("--resume goes with none of --local, --set, --from, --checkpoint, --mirror and --base: the run is what it was, and its newest checkpoint where it was")
	}
	conn, err := dialFlagged(cmd)
	if err != nil {
		return err
	}
	defer conn.Close()
	reply, err := pb.NewCheckpointsClient(conn).Resume(cmd.Context(), &pb.ResumeRequest{Run: run})
	if err != nil {
		return unreachable(conn, err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "run %s goes on after step %d\n", run, reply.Step)
	return followRemote(cmd, pb.NewControlClient(conn), run)
}

// followRemote follows a run to its end; Ctrl-C leaves it alone.
func followRemote(cmd *cobra.Command, control pb.ControlClient, run string) error {
	info, err := follow(cmd.Context(), control, run, newProgress(cmd.ErrOrStderr()))
	if errors.Is(cmd.Context().Err(), context.Canceled) {
		fmt.Fprintf(cmd.ErrOrStderr(), "\ndetached; run %s goes on: `coordinator status %s` shows it, `coordinator stop %s` ends it\n", run, run, run)
		return context.Canceled
	}
	if err != nil {
		return err
	}
	return conclude(cmd, info)
}

// submit sends a resolved spec and the files that the coordinator lacks, and returns the run's name. The first view waits
// for expect members.
func submit(ctx context.Context, control pb.ControlClient, r *spec.Resolved, expect int) (string, error) {
	req, err := launchRequest(r, expect)
	if err != nil {
		return "", err
	}
	reply, err := control.Launch(ctx, req)
	if err != nil {
		return "", err
	}
	byHash := map[string]*pb.File{}
	for _, f := range req.Files {
		byHash[string(f.Sha256)] = f
	}
	for _, sum := range reply.Missing {
		f := byHash[string(sum)]
		if f == nil {
			return "", fmt.Errorf("coordinator lacks a file %x that the spec does not name", sum)
		}
		if err := offer(ctx, control, f); err != nil {
			return "", fmt.Errorf("offer %s: %w", f.Path, err)
		}
	}
	return reply.Run, nil
}

func launchRequest(r *spec.Resolved, expect int) (*pb.LaunchRequest, error) {
	text, err := r.JSON()
	if err != nil {
		return nil, err
	}
	req := &pb.LaunchRequest{Name: r.Name, Spec: text, ExpectMembers: int32(expect)}
	for _, f := range r.Files {
		req.Files = append(req.Files, &pb.File{Sha256: f.SHA256[:], Size: f.Size, Path: f.Path, Role: f.Role})
	}
	return req, nil
}

// offer uploads one file.
func offer(ctx context.Context, control pb.ControlClient, f *pb.File) error {
	file, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	stream, err := control.Offer(ctx)
	if err != nil {
		return err
	}
	if err := pb.SendChunks(file, f.Sha256, f.Size, stream.Send); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	_, err = stream.CloseAndRecv() // which also says why nothing more could be sent
	return err
}

// followPatience is how long follow calls a coordinator that does not answer.
const followPatience = 30 * time.Second

// follow shows a run's progress until it has ended and returns how. The run does not depend on being followed: a coordinator
// that restarts is called again for a while.
func follow(ctx context.Context, control pb.ControlClient, run string, p *progress) (*pb.RunInfo, error) {
	defer p.end()
	for heard := time.Now(); ; {
		info, err := followOnce(ctx, control, run, p, &heard)
		if err == nil || ctx.Err() != nil || config.ExitCode(err) != config.ExitUnreachable {
			return info, err
		}
		if time.Since(heard) > followPatience {
			return nil, fmt.Errorf("follow run %s: %w", run, err)
		}
		p.say("the coordinator does not answer, calling again")
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// followOnce follows over one stream; heard is when it last said something.
func followOnce(ctx context.Context, control pb.ControlClient, run string, p *progress, heard *time.Time) (*pb.RunInfo, error) {
	stream, err := control.Follow(ctx, &pb.FollowRequest{Run: run})
	if err != nil {
		return nil, err
	}
	for {
		event, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		*heard = time.Now()
		p.show(event)
		if ended(event.Info.State) {
			return event.Info, nil
		}
	}
}

func ended(s pb.RunState) bool {
	return s == pb.RunState_RUN_FINISHED || s == pb.RunState_RUN_STOPPED || s == pb.RunState_RUN_FAILED
}

// conclude prints how a run ended.
func conclude(cmd *cobra.Command, r *pb.RunInfo) error {
	if r.State == pb.RunState_RUN_FAILED {
		return fmt.Errorf("run %s failed at step %d of %d: %s", r.Run, r.Step, r.Steps, r.Why)
	}
	out := cmd.OutOrStdout()
	if !wantsJSON(cmd) {
		fmt.Fprintf(out, "run %s %s after step %d of %d with %s\n", r.Run, stateName(r.State), r.Step, r.Steps, membersText(len(r.GetView().GetMembers())))
		fmt.Fprintf(out, "  loss %.4f → %.4f, %.0f tokens/s, %s sent per member, %d trained values\n", r.LossFirst, r.LossLast, r.TokensPerSecond, bytesText(r.BytesSentPerMember), r.Trained)
		fmt.Fprintf(out, "  digest %x\n", r.Digest)
		return nil
	}
	return printJSON(out, launchResult{
		Run: r.Run, Steps: r.Step, Digest: fmt.Sprintf("%x", r.Digest), LossFirst: r.LossFirst, LossLast: r.LossLast,
		TokensPerSecond: r.TokensPerSecond, BytesSentPerMember: r.BytesSentPerMember, Trained: r.Trained,
		Members: len(r.GetView().GetMembers()),
	})
}

// launchResult is what launch --json prints.
type launchResult struct {
	Run                string  `json:"run"`
	Steps              uint64  `json:"steps"`
	Digest             string  `json:"digest"`
	LossFirst          float64 `json:"loss_first"`
	LossLast           float64 `json:"loss_last"`
	TokensPerSecond    float64 `json:"tokens_per_second"`
	BytesSentPerMember int64   `json:"bytes_sent_per_member"`
	Trained            int64   `json:"trained"`
	Members            int     `json:"members"`
}
